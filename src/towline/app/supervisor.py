# SPDX-License-Identifier: Apache-2.0
"""Keep a few child processes running: what ``towline up`` becomes once its settings are read.

Standard library only and single-threaded, so that it stays small and has little to go wrong. Each child gets its settings
as one JSON line on standard input, which then stays open: end of file there means that the supervisor is gone, and the
child ends. A child reports as JSON lines on the descriptor that ``--status-fd`` names: ``{"ready": true, "lines": [...]}``.

Told to stop, it asks its children to end, waits ``stop_seconds`` of the plan, then kills them; told again, it does so at once.

A child that ends is started again after 0.5 s, doubling up to 30 s; one that ran for a minute starts the count anew.
A child that ends with status 2 (it cannot start) before everything was ready once ends the whole with that status.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from typing import Any

START_FAILED = 2
STOP_SECONDS = 8.0
TWICE_SECONDS = 0.3
"""A second signal within this time is the same wish said by two (a terminal and a parent, say)."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
STEADY_SECONDS = 60.0


class Child:
    """One process to keep alive, and when to start it next."""

    def __init__(self, name: str, argv: list[str], settings: Any) -> None:
        self.name = name
        self.argv = argv
        self.settings = json.dumps(settings).encode() + b"\n"
        self.process: subprocess.Popen[bytes] | None = None
        self.status_fd = -1
        self.pending = b""
        self.ready = False
        self.started = 0.0
        self.pause = FIRST_PAUSE
        self.next_start: float | None = 0.0

    def start(self, now: float) -> None:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        argv = [*self.argv, "--status-fd", str(writer)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, pass_fds=(writer,))  # noqa: S603 - our own program
        os.close(writer)
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(self.settings)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended at once; its exit status says why
        self.status_fd, self.pending, self.ready = reader, b"", False
        self.started, self.next_start = now, None

    def reports(self) -> list[dict[str, Any]]:
        """What the child said since the last look."""
        try:
            data = os.read(self.status_fd, 65536)
        except BlockingIOError:
            return []
        *lines, self.pending = (self.pending + data).split(b"\n")
        return [json.loads(line) for line in lines if line]

    def ended(self, now: float) -> int:
        """Collect the exit status, and decide when to start again."""
        assert self.process is not None
        assert self.process.stdin is not None
        status = self.process.wait()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        os.close(self.status_fd)
        self.process, self.status_fd = None, -1
        if now - self.started >= STEADY_SECONDS:
            self.pause = FIRST_PAUSE
        self.next_start = now + self.pause
        self.pause = min(self.pause * 2, LONGEST_PAUSE)
        return status


class Supervisor:
    """Runs the children until told to stop; ``run`` returns the exit status."""

    def __init__(self, children: list[Child], stop_seconds: float = STOP_SECONDS) -> None:
        self.children = children
        self.was_ready = False
        self.stop_signal = 0
        self._stop_seconds = stop_seconds
        self._told = 0.0
        self._hurry = False
        self._lines: list[str] = []
        self._began = time.monotonic()
        self._wake_reader, self._wake_writer = os.pipe()
        for end in (self._wake_reader, self._wake_writer):
            os.set_blocking(end, False)

    def run(self) -> int:
        signal.set_wakeup_fd(self._wake_writer)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while not self.stop_signal:
            now = time.monotonic()
            for child in self.children:
                if child.next_start is not None and child.next_start <= now:
                    child.start(now)
                if not (child.ready or self.was_ready):
                    break  # the first time, each waits for the one before it
            self._wait(self._next_deadline(now))
            failed = self._look()
            if failed is not None:
                self._stop_all()
                return failed
        self._stop_all()
        return 0

    def _on_stop(self, number: int, _frame: object) -> None:
        now = time.monotonic()
        if not self.stop_signal:
            self._told = now
        self._hurry = now - self._told > TWICE_SECONDS
        self.stop_signal = number

    def _next_deadline(self, now: float) -> float | None:
        due = [child.next_start for child in self.children if child.next_start]
        return max(0.0, min(due) - now) if due else None

    def _wait(self, timeout: float | None) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_reader, selectors.EVENT_READ)
            for child in self.children:
                if child.status_fd >= 0 and child.process is not None and child.process.poll() is None:
                    selector.register(child.status_fd, selectors.EVENT_READ)
            selector.select(timeout)
        try:
            while os.read(self._wake_reader, 4096):
                pass
        except BlockingIOError:
            pass

    def _look(self) -> int | None:
        """Read reports, collect ended children; the exit status when the start failed for good."""
        for child in self.children:
            if child.status_fd < 0:
                continue
            for report in child.reports():
                child.ready = child.ready or bool(report.get("ready"))
                if not self.was_ready:
                    self._lines += report.get("lines", ())
            if child.process is not None and child.process.poll() is not None:
                status = child.ended(time.monotonic())
                if status == START_FAILED and not self.was_ready:
                    return status
                if not self.stop_signal:
                    assert child.next_start is not None
                    pause = child.next_start - time.monotonic()
                    _say(
                        f"towline: {child.name} ended ({_why(status)}); starting it again in {pause:.1f} s", sys.stderr
                    )
        if not self.was_ready and all(child.ready for child in self.children):
            self.was_ready = True
            for line in self._lines:
                _say(line)
            _say(f"Ready in {time.monotonic() - self._began:.1f} s. Press Ctrl-C to stop.")
        return None

    def _stop_all(self) -> None:
        """End the children, last one first: ask, wait a little, then insist."""
        for child in reversed(self.children):
            if child.process is not None and child.process.poll() is None:
                child.process.terminate()
        end = time.monotonic() + self._stop_seconds
        running = {child.name: child.process for child in self.children if child.process is not None}
        while running := {name: process for name, process in running.items() if process.poll() is None}:
            left = end - time.monotonic()
            if left <= 0 or self._hurry:
                break
            try:
                next(iter(running.values())).wait(min(left, 0.1))
            except subprocess.TimeoutExpired:
                pass
        for name, process in running.items():
            why = "at once, as told" if self._hurry else f"after {self._stop_seconds:g} s"
            _say(f"towline: {name} was killed {why}", sys.stderr)
            process.kill()
            process.wait()


def _why(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _say(line: str, stream: Any = None) -> None:
    try:
        print(line, file=stream or sys.stdout, flush=True)
    except OSError:
        pass  # the terminal is gone; the children are not


def lock(path: str) -> int:
    """Take the lock file, or exit with one line. Returns the descriptor, which must stay open."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
        _say(
            f"towline: {os.path.dirname(path)} is in use by another towline (process {owner}); stop it first",
            sys.stderr,
        )
        raise SystemExit(START_FAILED) from None
    os.truncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def main() -> int:
    """``python -m towline.app.supervisor --plan-fd N``: the plan is JSON ``{"lock": path, "children": [...]}``."""
    descriptor = int(sys.argv[sys.argv.index("--plan-fd") + 1])
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        plan = json.loads(file.read())
    lock(plan["lock"])
    children = [Child(child["name"], child["argv"], child["settings"]) for child in plan["children"]]
    return Supervisor(children, plan.get("stop_seconds", STOP_SECONDS)).run()


if __name__ == "__main__":
    sys.exit(main())
