# SPDX-License-Identifier: Apache-2.0
"""From the setting ``entry`` to an entry: a Python or Lua file that the configuration names, or a built-in.

A Python entry is a file with any of ``on_handshake(conn, handshake)``, ``on_message(conn, message)`` and
``on_close(conn, error)``, plain or async; ``on_message`` must be there. It runs with the node's rights.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from towline.errors import InvalidInput, StartError, Unavailable
from towline.protocols.connmix.replies import frame_data
from towline.protocols.connmix.requests import MAX_NAME_BYTES

if TYPE_CHECKING:
    from towline.gateway.connections import Connection
    from towline.gateway.entries.base import Entry, Handshake, Message
    from towline.gateway.entries.options import ScriptOptions

BUILTIN_PREFIX = "builtin:"


class EchoEntry:
    """``builtin:echo``: every message goes back to its client. For trying out and for measuring."""

    name = "builtin:echo"

    def on_handshake(self, conn: Connection, handshake: Handshake) -> None:
        """Nothing to do."""

    def on_message(self, conn: Connection, message: Message) -> None:
        conn.send(message[1])

    def on_close(self, conn: Connection, error: str | None) -> None:
        """Nothing to do."""


class ForwardEntry:
    """``builtin:forward:TOPIC``: every message waits in a topic for back ends, as the documented
    ``{"frame": {"type", "data", "finish"}}``. What finds no room is dropped; the queues count it. A client's next message
    waits until a durable topic has the one before."""

    def __init__(self, topic: str) -> None:
        self.name = f"{FORWARD}{topic}"
        self._topic = topic

    def on_handshake(self, conn: Connection, handshake: Handshake) -> None:
        """Nothing to do."""

    def on_message(self, conn: Connection, message: Message) -> Awaitable[None] | None:
        kind, data = message
        frame = frame_data(kind, data.encode() if isinstance(data, str) else data)
        queues, client_id = conn.queue
        try:
            stored = queues.put(self._topic, frame, client_id)
        except (Unavailable, InvalidInput):
            return None
        return None if isinstance(stored, int) else self._kept(stored)

    async def _kept(self, stored: Awaitable[int]) -> None:
        try:
            await stored
        except Unavailable:
            pass

    def on_close(self, conn: Connection, error: str | None) -> None:
        """Nothing to do."""


FORWARD = "builtin:forward:"

BUILTINS: dict[str, Callable[[], Entry]] = {"echo": EchoEntry}


class PythonEntry:
    """The functions of one loaded script."""

    __slots__ = ("name", "on_close", "on_handshake", "on_message")

    def __init__(
        self,
        name: str,
        on_handshake: Callable[[Connection, Handshake], Awaitable[None] | None],
        on_message: Callable[[Connection, Message], Awaitable[None] | None],
        on_close: Callable[[Connection, str | None], Awaitable[None] | None],
    ) -> None:
        self.name = name
        self.on_handshake = on_handshake
        self.on_message = on_message
        self.on_close = on_close


def load_entry(setting: str, where: str = "gateway.entry", options: ScriptOptions | None = None) -> Entry:
    """Load what ``setting`` names. StartError says what is wrong with it, and in which setting it stands.

    :param options: for a Lua script
    """
    if setting.startswith(FORWARD):
        topic = setting.removeprefix(FORWARD)
        if not 0 < len(topic.encode()) <= MAX_NAME_BYTES:
            raise StartError("gateway.entry", f"{FORWARD} needs a topic of 1 to {MAX_NAME_BYTES} bytes", where=where)
        return ForwardEntry(topic)
    if setting.startswith(BUILTIN_PREFIX):
        make = BUILTINS.get(setting.removeprefix(BUILTIN_PREFIX))
        if make is None:
            known = ", ".join([*(BUILTIN_PREFIX + name for name in BUILTINS), f"{FORWARD}TOPIC"])
            raise StartError("gateway.entry", f"no built-in {setting!r}; there are {known}", where=where)
        return make()
    path = Path(setting)
    if path.suffix not in (".py", ".lua"):
        raise StartError("gateway.entry", f"{setting!r} is neither a .py or .lua file nor a built-in", where=where)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise StartError("gateway.entry", f"cannot read {setting}: {error.strerror}", where=where) from None
    if path.suffix == ".lua":
        try:
            from towline.gateway.entries.lua import LuaEntry
        except ImportError:
            raise StartError("gateway.lua_missing", "Lua scripts need the package lupa", where=where) from None
        return LuaEntry(path, options)
    return compile_entry(source, str(path), where)


def compile_entry(source: bytes, filename: str, where: str = "gateway.entry") -> Entry:
    """Run a script's module level and take its callbacks."""
    namespace: dict[str, Any] = {"__name__": Path(filename).stem, "__file__": filename}
    try:
        exec(compile(source, filename, "exec"), namespace)  # noqa: S102 - the operator's own file, named by them
    except SyntaxError as error:
        raise StartError("gateway.entry", f"{error.msg}", where=f"{filename}:{error.lineno}:{error.offset}") from error
    except Exception as error:
        line = _line_in(error, filename)
        raise StartError("gateway.entry", f"{type(error).__name__}: {error}", where=f"{filename}:{line}") from error
    callbacks: dict[str, Any] = {}
    for name in ("on_handshake", "on_message", "on_close"):
        function = namespace.get(name)
        if function is None and name == "on_message":
            raise StartError("gateway.entry", "the script has no function on_message(conn, message)", where=filename)
        if function is not None:
            _check_signature(function, name, filename)
        callbacks[name] = function or _nothing
    return PythonEntry(Path(filename).name, **callbacks)


def _nothing(conn: Connection, what: object) -> None:
    """A callback that the script leaves out."""


def _check_signature(function: Any, name: str, filename: str) -> None:
    if not callable(function):
        raise StartError("gateway.entry", f"{name} is not a function", where=filename)
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        line = getattr(getattr(function, "__code__", None), "co_firstlineno", 0)
        raise StartError("gateway.entry", f"{name} must take two arguments", where=f"{filename}:{line}") from None


def _line_in(error: BaseException, filename: str) -> int:
    """The last line of the script that the traceback passed."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == filename:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
