# SPDX-License-Identifier: Apache-2.0
"""The child's side of the supervisor: settings from standard input, reports on a descriptor, ending with the parent."""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from towline.app.supervisor import START_FAILED, TWICE_SECONDS
from towline.errors import StartError, TowlineError

T = TypeVar("T")

CANCEL_SECONDS = 3.0
_PR_SET_PDEATHSIG = 1

Main = Callable[[asyncio.Event, Callable[[list[str]], None]], Awaitable[None]]
"""``main(stop, ready)``: run until ``stop`` is set; call ``ready(lines for the terminal)`` once everything answers."""


def argument(name: str) -> str | None:
    """The value after ``name`` on the command line."""
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else None


def read_settings(kind: type[T]) -> T:
    """The settings as the supervisor gives them: one JSON line on standard input."""
    return msgspec.json.decode(sys.stdin.buffer.readline(), type=kind)


def run(main: Main, *, supervised: bool) -> int:
    """Run a role until SIGTERM, SIGINT, or (supervised) the end of the parent. Returns the exit status.

    Told a second time, an unsupervised role ends at once, with whatever it still had to finish.
    """
    if supervised:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor tells us
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    try:
        _run(_until_stopped(main, supervised))
    except StartError as error:
        print(f"towline: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the one line for the person at the terminal
        return START_FAILED
    except TowlineError as error:
        logging.getLogger("towline").error("%s", error)
        return 1
    return 0


def _run(coroutine: Awaitable[None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(_wrap(coroutine))
    else:
        uvloop.run(_wrap(coroutine))


async def _wrap(coroutine: Awaitable[None]) -> None:
    await coroutine


async def _until_stopped(main: Main, supervised: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    if supervised:
        loop.add_signal_handler(signal.SIGTERM, stop.set)  # in a hurry, the supervisor kills
        await _watch_parent(stop)
    else:
        told = _Told(stop, loop.time)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told, number)
    await main(stop, _reporter())
    await _end_tasks()


async def _end_tasks() -> None:
    """Cancel what is left. Something of an entry's may not let itself be cancelled: then the process ends all the same."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        _, stuck = await asyncio.wait(left, timeout=CANCEL_SECONDS)
        if stuck:
            logging.getLogger("towline").warning("%d tasks do not end; the process does", len(stuck))
            logging.shutdown()
            os._exit(0)


class _Told:
    """Stop when told; end at once when told again, but not when two said the same (a terminal and a parent, say)."""

    def __init__(self, stop: asyncio.Event, now: Callable[[], float]) -> None:
        self._stop = stop
        self._now = now
        self._first = 0.0

    def __call__(self, number: signal.Signals) -> None:
        if not self._stop.is_set():
            self._first = self._now()
            self._stop.set()
        elif self._now() - self._first > TWICE_SECONDS:
            logging.getLogger("towline").warning("told twice to stop: ending at once")
            logging.shutdown()
            os._exit(128 + number)


async def _watch_parent(stop: asyncio.Event) -> None:
    """Standard input stays open as long as the supervisor lives."""

    class Watch(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            stop.set()

        def eof_received(self) -> None:
            stop.set()

    await asyncio.get_running_loop().connect_read_pipe(Watch, sys.stdin)


def _reporter() -> Callable[[list[str]], None]:
    descriptor = argument("--status-fd")

    def ready(lines: list[str]) -> None:
        if descriptor is None:
            for line in lines:
                print(line, flush=True)  # noqa: T201 - for the terminal
        else:
            try:
                os.write(int(descriptor), json.dumps({"ready": True, "lines": lines}).encode() + b"\n")
            except BrokenPipeError:
                pass  # the supervisor is gone, which standard input tells as well

    return ready
