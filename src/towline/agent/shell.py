# SPDX-License-Identifier: Apache-2.0
"""Shell commands of operators: EXEC opens a stream, output flows with credit, END closes it.

Each command is ``/bin/sh -c`` in a session of its own, so that a timeout, a cancel or a lost link kills all it
started.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable
from typing import Literal

from towline.agent.platform import end_with_parent, home_of, kill_group, user_exists
from towline.agent.settings import AgentSettings
from towline.protocols.link.frames import LinkError, Priority
from towline.protocols.link.messages import Credit, End, Exec, ExecCancel, encode
from towline.protocols.link.streams import StreamSender

log = logging.getLogger("towline.agent.shell")

_READ = 16 * 1024
_HELD = 64 * 1024
"""Output that may wait for credit before reading pauses."""
_LINGER_S = 0.5
"""How long output is still read after the shell ended while something it started holds the pipes."""
_DRAIN_S = 30.0
_POLL_S = 0.2

Send = Callable[[bytes, Priority], bool]


class Shell:
    """The commands that run now.

    :ivar counters: ``started``, ``ended``, ``refused``, ``timeout``, ``cancelled``, ``output_limit``, ``link_lost``
    """

    def __init__(self, settings: AgentSettings) -> None:
        self.counters: Counter[str] = Counter()
        self._settings = settings
        self._send: Send | None = None
        self._runs: dict[int, _Run] = {}

    @property
    def running(self) -> int:
        return len(self._runs)

    def link_up(self, send: Send) -> None:
        self._send = send

    def link_down(self) -> None:
        """Nobody hears the output any more: everything is killed."""
        self._send = None
        self.cancel_all("link_lost")

    def cancel_all(self, reason: str) -> None:
        for run in self._runs.values():
            run.kill(reason)

    def exec(self, message: Exec, stream: int) -> None:
        """EXEC came. What may not or cannot run is answered with END at once."""
        problem = self._problem(message, stream)
        if problem is not None:
            self.counters["refused"] += 1
            self._end(stream, End(return_code=-1, reason=problem[0], message=problem[1]))
            return
        try:
            run = self._runs[stream] = _Run(message, stream, self._settings, self._frame)
        except LinkError as error:
            self._end(stream, End(return_code=-1, reason="failed", message=error.message))
            return
        self.counters["started"] += 1
        log.info("shell command of %s starts", message.user or "an operator", extra={"exec_id": message.exec_id})
        run.task = asyncio.create_task(self._finish(run))

    def credit(self, message: Credit, stream: int) -> None:
        """CREDIT came. LinkError ``link.stream`` if it makes no sense."""
        run = self._runs.get(stream)
        if run is not None:
            run.grant(message.amount)

    def cancel(self, message: ExecCancel, stream: int) -> None:
        """EXEC_CANCEL came."""
        run = self._runs.get(stream)
        if run is not None:
            run.kill("cancelled")

    async def stop(self) -> None:
        """Kill what runs and wait for it."""
        self.cancel_all("agent_stopped")
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _problem(self, message: Exec, stream: int) -> tuple[str, str] | None:
        settings = self._settings
        if not settings.allow.shell:
            return "not_allowed", "this device does not allow shell commands (agent.allow.shell)"
        if stream in self._runs:
            return "failed", "the stream is in use"
        if "\0" in message.command:  # one event loop would cut the command there, the other refuses it
            return "failed", "a command has no NUL in it"
        if len(self._runs) >= settings.shell_concurrent:
            return "busy", f"{settings.shell_concurrent} shell commands run already"
        if settings.shell_user and not user_exists(settings.shell_user):
            return "failed", f"there is no user {settings.shell_user!r} on this device (agent.shell_user)"
        return None

    def _frame(self, frame: bytes) -> bool:
        return self._send is not None and self._send(frame, Priority.INTERACTIVE)

    def _end(self, stream: int, end: End) -> None:
        self._frame(encode(end, stream=stream))

    async def _finish(self, run: _Run) -> None:
        try:
            end = await run.complete()
        except Exception as error:
            log.exception("a shell command could not be run")
            end = End(return_code=-1, reason="failed", message=str(error))
        finally:
            self._runs.pop(run.stream, None)
        self.counters["ended"] += 1
        if end.reason:
            self.counters[end.reason] += 1
        self._end(run.stream, end)


class _Run:
    """One command."""

    def __init__(self, message: Exec, stream: int, settings: AgentSettings, send: Callable[[bytes], bool]) -> None:
        self.stream = stream
        self.task: asyncio.Task[None] | None = None
        self.returned: int | None = None
        self._message = message
        self._settings = settings
        self._sender = StreamSender(stream, message.credit)
        self._send = send
        self._moved = asyncio.Event()
        self._killed = ""
        self._kill = asyncio.Event()
        self._room = {1: message.max_output, 2: message.max_output}
        self._truncated = False
        self._sent = 0

    def grant(self, amount: int) -> None:
        self._sender.grant(amount)
        self._flush()

    def kill(self, reason: str) -> None:
        """End it; the first reason counts."""
        self._killed = self._killed or reason
        self._kill.set()
        self._moved.set()

    async def complete(self) -> End:
        message, settings = self._message, self._settings
        timeout = min(max(message.timeout_s, 0.1), settings.shell_timeout_s)
        user = settings.shell_user if os.geteuid() == 0 else ""
        home = _directory(home_of(user))
        try:
            process = await asyncio.create_subprocess_exec(
                "/bin/sh",
                "-c",
                message.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                cwd=home,
                env={**_environment(), "HOME": home},
                preexec_fn=end_with_parent(os.getpid(), user=user, kill=True),
                limit=_READ,
            )
        except (OSError, ValueError) as error:
            return End(return_code=-1, reason="failed", message=f"the command cannot be started: {error}")
        assert process.stdout is not None
        assert process.stderr is not None
        readers = [
            asyncio.create_task(self._read(process.stdout, 1)),
            asyncio.create_task(self._read(process.stderr, 2)),
        ]
        try:
            await self._watch(process, timeout, readers)
        finally:
            if self._killed:
                kill_group(process.pid)
            ended = self.returned = await _returned(process)
            if not self._killed:
                await self._linger(readers)
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            if process._transport is not None:  # type: ignore[attr-defined]
                process._transport.close()  # type: ignore[attr-defined]
        await self._drain()
        code = ended if not self._killed or ended < 0 else -1
        return End(
            return_code=code,
            reason=self._killed,
            message=self._words(timeout),
            truncated=self._truncated or self._sender.waiting > 0,
        )

    async def _watch(
        self, process: asyncio.subprocess.Process, timeout: float, readers: list[asyncio.Task[None]]
    ) -> None:
        """Until the shell ended, or is to be killed."""
        end = asyncio.get_running_loop().time() + timeout
        while process.returncode is None:
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                self.kill("timeout")
            if self._kill.is_set():
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, _POLL_S if all(map(_done, readers)) else 0.05)):
                    await self._kill.wait()

    async def _linger(self, readers: list[asyncio.Task[None]]) -> None:
        """The shell ended: read what it left in the pipes. A process that holds them open has a moment, in which it may
        write on; waiting for credit does not count, and has its own bound.
        """
        loop = asyncio.get_running_loop()
        moment, patience, sent = _LINGER_S, _DRAIN_S, self._sent
        while moment > 0 and not self._kill.is_set() and not all(map(_done, readers)):
            blocked, before = self._sender.waiting >= _HELD, loop.time()
            await asyncio.wait(readers, timeout=0.05)
            passed = loop.time() - before
            if self._sent != sent:
                sent, patience = self._sent, _DRAIN_S
            if not blocked:
                moment -= passed
                continue
            patience -= passed
            if patience <= 0:
                self._truncated = True
                return

    async def _read(self, source: asyncio.StreamReader, channel: Literal[1, 2]) -> None:
        while True:
            while self._sender.waiting >= _HELD and not self._kill.is_set():
                self._moved.clear()
                await self._moved.wait()
            data = await source.read(_READ)
            if not data:
                return
            room = self._room[channel]
            self._room[channel] = room - min(room, len(data))
            self._sender.write(data[:room], channel)
            self._flush()
            if len(data) > room:
                self._truncated = True
                self.kill("output_limit")
                return

    def _flush(self) -> None:
        for frame in self._sender.frames():
            if not self._send(frame):
                self._truncated = True
                self.kill("link_lost")
                return
            self._sent += 1
        self._moved.set()

    async def _drain(self) -> None:
        """Wait for the credit that the rest of the output needs."""
        end = asyncio.get_running_loop().time() + _DRAIN_S
        while self._sender.waiting and self._killed not in ("link_lost", "agent_stopped", "cancelled"):
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                return
            self._moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._moved.wait()

    def _words(self, timeout: float) -> str:
        return {
            "timeout": f"killed after {timeout:g} s",
            "cancelled": "killed: it was cancelled",
            "output_limit": f"killed: it wrote more than {self._message.max_output} bytes",
            "link_lost": "killed: the link to the hub was lost",
            "agent_stopped": "killed: the agent stopped",
        }.get(self._killed, "")


def _directory(path: str) -> str:
    return path if os.path.isdir(path) else "/"


def _done(task: asyncio.Task[None]) -> bool:
    return task.done()


async def _returned(process: asyncio.subprocess.Process) -> int:
    """The exit status; the loop learns of it some moments after the process ended."""
    while process.returncode is None:
        await asyncio.sleep(0.01)
    return process.returncode


def _environment() -> dict[str, str]:
    """What a command sees: no setting or secret of the agent's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOWLINE_")}
    kept.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return kept
