# SPDX-License-Identifier: Apache-2.0
"""A Python script as an entry: its callbacks are looked up once, and again when a file of it has changed.

A script for a WebSocket port has any of ``on_handshake(conn, handshake)``, ``on_message(conn, message)`` and
``on_close(conn, error)``; one for a raw TCP port ``on_connect(conn)``, ``protocol_input(conn, buffer)``,
``protocol_decode(conn, data)``, ``protocol_encode(conn, data)``, ``on_message`` and ``on_close``. ``on_message`` has to be
there. They may be ``async``, but for ``protocol_encode``. A script runs with the node's rights.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from towline.errors import StartError
from towline.gateway.entries.modules import Modules

if TYPE_CHECKING:
    from towline.gateway.connections import Connection
    from towline.gateway.entries.base import Handshake, Message
    from towline.gateway.entries.buffer import Buffer
    from towline.gateway.rawconnection import RawConnection

log = logging.getLogger("towline.gateway")


def _nothing(*arguments: object) -> None:
    """A callback that the script leaves out."""


def _all(conn: object, buffer: Buffer) -> int:
    """``protocol_input`` left out: what is there is a packet."""
    return len(buffer)


def _as_it_is(conn: object, data: bytes) -> bytes:
    """``protocol_decode`` or ``protocol_encode`` left out."""
    return data


class _Script:
    """The callbacks of a script, as attributes, and their renewal."""

    arguments: ClassVar[Mapping[str, tuple[str, ...]]]
    """The callbacks there may be, with the names of their arguments."""
    defaults: ClassVar[Mapping[str, Callable[..., Any]]] = {}

    def __init__(self, path: Path, where: str = "gateway.entry", reload_s: float = 0.0) -> None:
        self.name = path.name
        self._where = where
        self._reload_s = reload_s
        self.reloads = 0
        """Times a changed script was taken."""
        self.reload_failures = 0
        """Times a changed script did not load and the old one stayed."""
        self._timer: asyncio.TimerHandle | None = None
        self._modules = Modules(path)
        self._refused: Modules | None = None
        self._take(self._modules)
        if reload_s > 0:
            self._schedule()

    @property
    def events(self) -> dict[str, int]:
        """For ``/metrics``."""
        return {"reloaded": self.reloads, "not_reloaded": self.reload_failures}

    def reload(self) -> bool:
        """Load the script anew if one of its files changed; one that does not load leaves the old one running."""
        if not (self._refused or self._modules).changed():
            return False
        modules = Modules(self._modules.script, self._modules.name)
        try:
            self._take(modules)
        except StartError as error:
            self.reload_failures += 1
            self._refused = modules
            log.error("changed script not taken, the old one goes on: %s", error, extra={"entry": self.name})
            return False
        self._modules, self._refused = modules, None
        self.reloads += 1
        log.info("changed script taken", extra={"entry": self.name})
        return True

    async def close(self) -> None:
        """Stop watching files."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- inside

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._reload_s / 2, self._tick)

    def _tick(self) -> None:
        self._schedule()
        self.reload()

    def _take(self, modules: Modules) -> None:
        """Run a script's module level and take its callbacks, all or none."""
        filename = str(modules.script)
        try:
            namespace = modules.run()
        except SyntaxError as error:
            place = f"{error.filename}:{error.lineno}:{error.offset}" if error.filename else filename
            raise StartError("gateway.entry", f"{error.msg}", where=place) from error
        except OSError as error:
            raise StartError("gateway.entry", f"cannot read {filename}: {error.strerror}", where=self._where) from None
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            place = _place(error, modules) or filename
            raise StartError("gateway.entry", f"{type(error).__name__}: {error}", where=place) from error
        found = {name: namespace.get(name) for name in self.arguments}
        if found["on_message"] is None:
            raise StartError("gateway.entry", "the script has no function on_message(conn, message)", where=filename)
        for name, function in found.items():
            if function is not None:
                self._check(function, name, filename)
        for name, function in found.items():
            setattr(self, name, function or self.defaults.get(name, _nothing))

    def _check(self, function: Any, name: str, filename: str) -> None:
        if not callable(function):
            raise StartError("gateway.entry", f"{name} is not a function", where=filename)
        line = getattr(getattr(function, "__code__", None), "co_firstlineno", 0)
        arguments = self.arguments[name]
        try:
            inspect.signature(function).bind(*arguments)
        except TypeError:
            number = "one argument" if len(arguments) == 1 else "two arguments"
            message = f"{name} must take {number}: {', '.join(arguments)}"
            raise StartError("gateway.entry", message, where=f"{filename}:{line}") from None
        if name == "protocol_encode" and inspect.iscoroutinefunction(function):
            raise StartError("gateway.entry", f"{name} must not be async", where=f"{filename}:{line}")


class PythonEntry(_Script):
    """A script for a WebSocket port (:class:`towline.gateway.entries.base.Entry`)."""

    arguments: ClassVar = {
        "on_handshake": ("conn", "handshake"),
        "on_message": ("conn", "message"),
        "on_close": ("conn", "error"),
    }

    on_handshake: Callable[[Connection, Handshake], Awaitable[None] | None]
    on_message: Callable[[Connection, Message], Awaitable[None] | None]
    on_close: Callable[[Connection, str | None], Awaitable[None] | None]


class PythonRawEntry(_Script):
    """A script for a raw TCP port (:class:`towline.gateway.entries.base.RawEntry`)."""

    arguments: ClassVar = {
        "on_connect": ("conn",),
        "protocol_input": ("conn", "buffer"),
        "protocol_decode": ("conn", "data"),
        "protocol_encode": ("conn", "data"),
        "on_message": ("conn", "message"),
        "on_close": ("conn", "error"),
    }
    defaults: ClassVar = {"protocol_input": _all, "protocol_decode": _as_it_is, "protocol_encode": _as_it_is}

    on_connect: Callable[[RawConnection], Awaitable[None] | None]
    protocol_input: Callable[[RawConnection, Buffer], Awaitable[int] | int]
    protocol_decode: Callable[[RawConnection, bytes], Any]
    protocol_encode: Callable[[RawConnection, bytes], bytes | None]
    on_message: Callable[[RawConnection, Any], Awaitable[None] | None]
    on_close: Callable[[RawConnection, str | None], Awaitable[None] | None]


def _place(error: BaseException, modules: Modules) -> str | None:
    """The last line of the script, or of its modules, that the traceback passed."""
    place, trace = None, error.__traceback__
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if modules.is_mine(filename):
            place = f"{filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
