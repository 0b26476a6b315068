# SPDX-License-Identifier: Apache-2.0
"""One Lua machine with one loaded script: its limits, its modules, and calls into it.

The machine's allocator refuses memory above a limit. Inside Lua that is an error of the script; when *we* hand a value
over it would end the process, so everything handed over is first measured against a lower limit, and the space between
the two is for small things.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lupa.luajit21 as lua

from towline.errors import StartError
from towline.gateway.entries.lua.values import size_of, to_lua

SPARE_BYTES = 16 * 1024 * 1024
"""Between the limit that is checked and the one that the allocator enforces."""

MAX_SOURCE_BYTES = 4 * 1024 * 1024

CALLBACKS = {
    "on_handshake": "client_id, headers, server",
    "on_connect": "client_id, headers",
    "on_message": "msg",
    "on_close": "client_id, err",
}
RAW_CALLBACKS = {
    "on_connect": "client_id",
    "on_close": "client_id, err",
    "protocol_input": "buf",
    "protocol_decode": "str",
    "protocol_encode": "str",
    "on_message": "msg",
}
"""What scripts have to define, and the arguments (spec connmix §4.4)."""

_OURS = re.compile(r"^\[(?:driver|mix|json)\]:\d+: ")
_HERE = Path(__file__).parent
_LIBRARY = _HERE / "library"
"""What scripts may require though their folder has no such file: the modules that connmix ships with."""

_DRIVER, _JSON, _MIX = ((_HERE / name).read_bytes() for name in ("driver.lua", "json.lua", "mix.lua"))


class ScriptError(Exception):
    """A callback failed: Lua's message with the line in the script, and its traceback."""


class OutOfMemory(Exception):
    """The machine cannot take what was to be handed over."""


def _no_attributes(target: object, name: object, setting: bool) -> Any:
    raise AttributeError("scripts do not see into Python objects")


class Sources:
    """The files a script consists of, and whether they changed."""

    def __init__(self, entry: Path) -> None:
        self.entry = entry
        self.folder = entry.parent
        self._seen: dict[Path, tuple[int, int, bytes]] = {}
        self._missing: set[Path] = set()

    def read(self, path: Path) -> bytes:
        """A file's text, remembered. OSError; ValueError for one that is too long."""
        stat = path.stat()
        if stat.st_size > MAX_SOURCE_BYTES:
            raise ValueError(f"{path.name} has {stat.st_size} bytes; the limit is {MAX_SOURCE_BYTES}")
        source = path.read_bytes()
        self._seen[path] = (stat.st_mtime_ns, stat.st_size, hashlib.sha256(source).digest())
        return source

    def module(self, name: str) -> tuple[bytes, str]:
        """A module's text and name for messages, from the script's folder or else from those that ship with us; ValueError
        when there is none."""
        parts = name.split(".")
        if not all(parts) or any("\0" in part or os.sep in part for part in parts):
            raise ValueError(f"module '{name}' not found: that is no name of a module")
        tried = self.folder.joinpath(*parts)
        for path in (tried.with_name(tried.name + ".lua"), tried / "init.lua"):
            try:
                source = self.read(path)
            except (FileNotFoundError, NotADirectoryError):
                self._missing.add(path)
                continue
            except OSError as error:
                raise ValueError(f"module '{name}': cannot read {path}: {error.strerror}") from None
            return source, os.path.relpath(path, self.folder)
        shipped = _LIBRARY.joinpath(*parts[:-1], f"{parts[-1]}.lua")
        if ".." not in parts and shipped.is_file():
            return shipped.read_bytes(), f"towline/{'/'.join(parts)}.lua"
        raise ValueError(f"module '{name}' not found in {self.folder}")

    def changed(self) -> bool:
        """Whether a file has other content than when it was read, or one that was missed has appeared."""
        for path, (mtime, size, digest) in list(self._seen.items()):
            try:
                stat = path.stat()
                if (stat.st_mtime_ns, stat.st_size) == (mtime, size):
                    continue
                if stat.st_size <= MAX_SOURCE_BYTES and hashlib.sha256(path.read_bytes()).digest() == digest:
                    self._seen[path] = (stat.st_mtime_ns, stat.st_size, digest)
                    continue
            except OSError:
                continue  # being written anew; the next look sees it
            return True
        return any(path.exists() for path in self._missing)


class LuaVM:
    """A machine in which a script is loaded.

    :param functions: makes the Python functions behind ``mix``; it is given this machine
    :param raw: for a raw TCP port
    :raises StartError: ``gateway.entry`` with file and line when the script does not compile, fails, or lacks a callback
    """

    def __init__(
        self,
        sources: Sources,
        functions: Callable[[LuaVM], Mapping[bytes, Callable[..., Any]]],
        *,
        trusted: bool,
        callback_ms: int,
        memory_bytes: int,
        raw: bool = False,
    ) -> None:
        self.sources = sources
        self.raw = raw
        self.memory_bytes = memory_bytes
        self.runtime = lua.LuaRuntime(
            encoding=None,
            source_encoding="utf-8",
            attribute_filter=_no_attributes,
            register_eval=False,
            register_builtins=False,
            unpack_returned_tuples=True,
            max_memory=memory_bytes + SPARE_BYTES,
        )
        table = {**functions(self), b"module": self._module, b"print": _print, b"raw": raw}
        driver = self.runtime.execute(
            _DRIVER, self.runtime.table_from(table), trusted, callback_ms / 1000, _JSON, _MIX, name=b"=[driver]"
        )
        self.message: Callable[[bytes, bytes, bytes], Any] = driver[b"message"]
        self.raw_message: Callable[[bytes, Any], Any] = driver[b"raw_message"]
        self.connect: Callable[[bytes], Any] = driver[b"connect"]
        self.input: Callable[[bytes, bytes | None, int], Any] = driver[b"input"]
        self.decode: Callable[[bytes, bytes], Any] = driver[b"decode"]
        self.encode: Callable[[bytes, bytes], Any] = driver[b"encode"]
        self.go_on_valued: Callable[..., Any] = driver[b"go_on_valued"]
        self.handshake: Callable[..., Any] = driver[b"handshake"]
        self.closed: Callable[..., Any] = driver[b"close"]
        self.go_on: Callable[..., Any] = driver[b"go_on"]
        self.drop: Callable[[int], None] = driver[b"drop"]
        self._load(driver)

    def _load(self, driver: Any) -> None:
        path = self.sources.entry
        try:
            source = self.sources.read(path)
        except OSError as error:
            raise StartError("gateway.entry", f"cannot read {path}: {error.strerror}", where=str(path)) from None
        except ValueError as error:
            raise StartError("gateway.entry", f"the script is too long: {error}", where=str(path)) from None
        try:
            problem = driver[b"load"](source, path.name.encode())
        except lua.LuaError as error:
            problem = str(error).encode()
        if problem is not None:
            raise StartError("gateway.entry", f"the script does not load: {_text(problem)}", where=str(path))
        callbacks = RAW_CALLBACKS if self.raw else CALLBACKS
        found = {name: driver[b"take"](name.encode(), args.count(",") + 1) for name, args in callbacks.items()}
        wrong = [name for name, kind in found.items() if kind not in (b"nil", b"function")]
        if wrong:
            raise StartError("gateway.entry", f"{wrong[0]} is not a function", where=str(path))
        for name, arguments in callbacks.items():
            # An on_connect alone does for on_handshake, whose name it was once.
            other = {"on_handshake": "on_connect", "on_connect": "on_handshake"}.get(name, name)
            if found[name] == b"nil" and found.get(other, b"nil") == b"nil":
                raise StartError("gateway.entry", f"the script has no function {name}({arguments})", where=str(path))

    def _module(self, name: bytes) -> tuple[bytes | None, bytes]:
        try:
            source, chunk = self.sources.module(name.decode("utf-8", "replace"))
            self.room(len(source))
        except (ValueError, OutOfMemory) as error:
            return None, str(error).encode()
        return source, chunk.encode()

    # -- handing over

    @property
    def used(self) -> int:
        """Bytes the machine holds, garbage included."""
        return int(self.runtime.get_memory_used() or 0)

    def room(self, size: int) -> None:
        """Make sure that ``size`` bytes fit; OutOfMemory otherwise."""
        if self.used + size > self.memory_bytes:
            self.runtime.gccollect()
            if self.used + size > self.memory_bytes:
                raise OutOfMemory(f"the script's memory limit of {self.memory_bytes} bytes is reached")

    def give(self, value: Any) -> Any:
        """A Python value for Lua; OutOfMemory when it does not fit."""
        if isinstance(value, (bool, int, float)) or value is None:
            return to_lua(self.runtime, value)
        self.room(size_of(value))
        return to_lua(self.runtime, value)

    def call(self, function: Callable[..., Any], *arguments: Any) -> int | None:
        """Run a callback until it ends (None) or waits (a number). ScriptError when it fails."""
        try:
            result = function(*arguments)
        except lua.LuaError as error:  # the driver itself had no memory left
            self.runtime.gccollect()
            raise ScriptError(str(error) or "not enough memory") from None
        if result is None or type(result) is int:
            return result
        raise ScriptError(_readable(_text(result[1])))

    def call_valued(self, function: Callable[..., Any], *arguments: Any) -> tuple[int | None, Any]:
        """As :meth:`call`, for a callback whose value counts: None and the value, or the number under which it waits."""
        try:
            result = function(*arguments)
        except lua.LuaError as error:
            self.runtime.gccollect()
            raise ScriptError(str(error) or "not enough memory") from None
        if type(result) is int:
            return result, None
        if result[0] is None:
            return None, result[1]
        raise ScriptError(_readable(_text(result[1])))


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode("utf-8", "replace")


def _readable(trace: str) -> str:
    """A traceback without our own frames."""
    first, *frames = trace.split("\n")
    seen = [line for line in frames if not line.startswith("\t[driver]:") and line != "\t[C]: in function 'xpcall'"]
    return "\n".join([_OURS.sub("", first), *seen])


def _print(data: bytes) -> None:
    try:
        sys.stdout.write(data.decode("utf-8", "replace"))
        sys.stdout.flush()
    except (OSError, ValueError):
        pass  # nobody reads our output any more
