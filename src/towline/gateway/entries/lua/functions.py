# SPDX-License-Identifier: Apache-2.0
"""The Python functions behind ``mix``. Nothing raised here reaches Lua as an object: a problem is a text."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from towline.errors import InvalidInput, TowlineError
from towline.gateway.contextvalues import key_text, text_keys
from towline.gateway.entries.lua import phppack, urls
from towline.gateway.entries.lua.httpcalls import HttpCalls
from towline.gateway.entries.lua.redis import RedisClients
from towline.gateway.entries.lua.values import from_lua
from towline.gateway.entries.lua.vm import LuaVM, OutOfMemory
from towline.gateway.mesh import send_problem
from towline.gateway.rawconnection import RawConnection

if TYPE_CHECKING:
    from towline.gateway.connections import Connection
    from towline.gateway.entries.buffer import Buffer
    from towline.gateway.entries.options import ScriptOptions

log = logging.getLogger("towline.gateway.lua")

LEVELS = {b"DEBUG": logging.DEBUG, b"INFO": logging.INFO, b"WARN": logging.WARNING, b"ERROR": logging.ERROR}

Pending = Callable[[], Awaitable[tuple[Any, ...]]]
"""Begins what a callback waits for; its result is what the waiting Lua call returns."""

GONE = b"the connection is closed"


class Shared:
    """What the machines of one entry have in common, through reloads."""

    def __init__(self, options: ScriptOptions, name: str, raw: bool = False) -> None:
        self.raw = raw
        self.buffers: dict[bytes, Buffer] = {}
        """Of connections whose ``protocol_input`` looks at a large one."""
        self.options = options
        self.name = name
        self.connections: dict[bytes, Connection] = {}
        self.pending: Pending | None = None
        self.redis = RedisClients(options.redis)
        self.http = HttpCalls()

    def take_pending(self) -> Pending:
        """What the callback that just began to wait waits for."""
        pending, self.pending = self.pending, None
        assert pending is not None
        return pending

    async def close(self) -> None:
        await self.redis.close()
        await self.http.close()


def value_or_error(function: Callable[..., Any]) -> Callable[..., Any]:
    """Problems become ``nil, text``."""

    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            return None, told(error)

    return call


def error_only(function: Callable[..., Any]) -> Callable[..., Any]:
    """Problems become the only result; nil is success."""

    def call(*arguments: Any) -> bytes | None:
        try:
            function(*arguments)
        except Exception as error:
            return told(error)
        return None

    return call


def begun(function: Callable[..., Any], failed: tuple[Any, ...] = (None,)) -> Callable[..., Any]:
    """For calls that may wait: ``true, values…`` or ``false``. Problems become ``true, *failed, text``."""

    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            return (True, *failed, told(error))

    return call


def told(error: Exception) -> bytes:
    """A problem as the text that a script gets."""
    if isinstance(error, TowlineError):
        return error.message.encode("utf-8", "replace")
    if isinstance(error, (ValueError, OutOfMemory, LookupError)):
        return str(error.args[0] if error.args else error).encode("utf-8", "replace")
    return f"{type(error).__name__}: {error}".encode("utf-8", "replace")


class Functions:
    """The functions for one machine."""

    def __init__(self, vm: LuaVM, shared: Shared) -> None:
        self._vm = vm
        self._shared = shared

    def table(self) -> Mapping[bytes, Callable[..., Any]]:
        """By the names that ``mix.lua`` and the driver use."""
        return {
            b"now": monotonic,
            b"utf8": value_or_error(self._utf8),
            b"base64_encode": value_or_error(lambda s: self._vm.give(base64.b64encode(s))),
            b"base64_decode": value_or_error(self._base64_decode),
            b"md5": value_or_error(lambda s: hashlib.md5(s, usedforsecurity=False).hexdigest().encode()),
            b"md5_bin": value_or_error(lambda s: hashlib.md5(s, usedforsecurity=False).digest()),
            b"sha1": value_or_error(lambda s: hashlib.sha1(s, usedforsecurity=False).hexdigest().encode()),
            b"sha1_bin": value_or_error(lambda s: hashlib.sha1(s, usedforsecurity=False).digest()),
            b"parse_url": value_or_error(lambda s: self._vm.give(urls.parse_url(s))),
            b"parse_str": value_or_error(lambda s: self._vm.give(urls.parse_str(s))),
            b"php_pack": value_or_error(lambda form, *values: self._vm.give(phppack.pack(form, values))),
            b"php_unpack": value_or_error(lambda form, s: self._vm.give(phppack.unpack(form, s))),
            b"log": value_or_error(self._log),
            b"option": value_or_error(self._option),
            b"remote_addr": value_or_error(lambda client: self._connection(client).remote_addr.encode()),
            b"context": value_or_error(lambda client: self._vm.give(self._connection(client).context())),
            b"context_value": value_or_error(
                lambda client, key: self._vm.give(self._connection(client).context_value(_name(key)))
            ),
            b"wait_context_value": begun(self._wait_context_value),
            b"set_context": error_only(self._set_context),
            b"set_context_value": error_only(
                lambda client, key, value: self._connection(client).set_context_value(_name(key), from_lua(value))
            ),
            b"subscribe": error_only(lambda client, *names: self._connection(client).subscribe(*_channels(names))),
            b"unsubscribe": error_only(lambda client, *names: self._connection(client).unsubscribe(*_channels(names))),
            b"close": error_only(lambda client: self._connection(client).close()),
            b"send": error_only(self._send_raw if self._shared.raw else self._send),
            b"clear_buffer": error_only(self._clear_buffer),
            b"buffer": value_or_error(self._buffer),
            b"mesh_send": begun(self._mesh_send, ()),
            b"mesh_publish": begun(self._mesh_publish, (0, 0)),
            b"queue_push": begun(self._queue_push),
            b"redis_known": error_only(lambda name: self._shared.redis.get(_name(name))),
            b"redis": begun(self._redis),
            b"http": begun(self._http),
        }

    # -- values

    def _utf8(self, raw: bytes) -> bytes:
        """Valid UTF-8, with U+FFFD for what is not."""
        try:
            raw.decode()
        except UnicodeDecodeError:
            return bytes(self._vm.give(raw.decode("utf-8", "replace")))
        self._vm.room(len(raw))
        return raw

    def _base64_decode(self, text: bytes) -> Any:
        try:
            # Line breaks may stand anywhere, as command line tools write them.
            return self._vm.give(base64.b64decode(text.replace(b"\n", b"").replace(b"\r", b""), validate=True))
        except binascii.Error as error:
            raise ValueError(f"invalid base64: {error}") from None

    def _log(self, level: bytes, message: bytes) -> bool:
        number = LEVELS.get(level.upper())
        if number is None:
            raise ValueError("the level must be mix.DEBUG, mix.INFO, mix.WARN or mix.ERROR")
        if not log.isEnabledFor(number):
            return False
        log.log(number, "%s", message.decode("utf-8", "replace"), extra={"entry": self._shared.name})
        return True

    def _option(self, name: bytes) -> bytes | None:
        value = self._shared.options.options.get(_name(name))
        return None if value is None else value.encode()

    # -- the connection

    def _connection(self, client_id: bytes) -> Connection:
        connection = self._shared.connections.get(client_id)
        if connection is None:
            raise LookupError(GONE.decode())
        return connection

    def _wait_context_value(self, client_id: bytes, key: bytes) -> tuple[Any, ...]:
        connection, name = self._connection(client_id), _name(key)
        value = connection.context_value(name)
        if value is not None or connection.closing:
            return True, self._vm.give(value)

        async def wait() -> tuple[Any, ...]:
            return (await connection.wait_context_value(name),)

        self._shared.pending = wait
        return (False,)

    def _set_context(self, client_id: bytes, values: Any) -> None:
        kept = from_lua(values)
        # The context's own keys are texts, as back ends give them; inside values keys stay what they are.
        items = enumerate(kept, 1) if isinstance(kept, list) else kept.items()
        self._connection(client_id).set_context({key_text(key): value for key, value in items})

    def _send(self, client_id: bytes, data: bytes, kind: Any) -> None:
        binary = _binary(kind, data)
        connection = self._connection(client_id)
        if connection.closing:
            raise LookupError(GONE.decode())
        if not connection.send(data, "binary" if binary else "text"):
            raise ValueError("the client is too far behind or closing")

    def _send_raw(self, client_id: bytes, data: bytes, kind: Any) -> None:
        connection = self._connection(client_id)
        if connection.closing:
            raise LookupError(GONE.decode())
        if data and not connection.send(data):
            raise ValueError("the client is too far behind or closing")

    def _clear_buffer(self, client_id: bytes) -> None:
        connection = self._connection(client_id)
        if isinstance(connection, RawConnection):
            connection.clear_buffer()

    def _buffer(self, client_id: bytes, start: int, end: int) -> Any:
        buffer = self._shared.buffers.get(client_id)
        if buffer is None:
            raise LookupError("the buffer can be read in protocol_input only")
        return self._vm.give(buffer.slice(int(start), int(end)))

    # -- the mesh and the queues

    def _mesh_send(self, client_id: bytes, target: bytes, data: bytes, kind: Any) -> tuple[Any, ...]:
        mesh, name = self._connection(client_id).mesh, _name(target)
        _short_enough(mesh.max_data_bytes, data)
        answer = _Answer(partial(mesh.send_then, name, data, self._is_binary(kind, data)))
        if answer.outcome is not None:
            return True, _not_sent(name, answer.outcome)

        async def wait() -> tuple[Any, ...]:
            return (_not_sent(name, await answer.wait()),)

        self._shared.pending = wait
        return (False,)

    def _mesh_publish(self, client_id: bytes, channel: bytes, data: bytes, kind: Any) -> tuple[Any, ...]:
        mesh = self._connection(client_id).mesh
        _short_enough(mesh.max_data_bytes, data)
        answer = _Answer(partial(mesh.publish_then, _name(channel), data, self._is_binary(kind, data)))
        if answer.outcome is not None:
            return True, answer.outcome.sent, answer.outcome.failed

        async def wait() -> tuple[Any, ...]:
            outcome = await answer.wait()
            return outcome.sent, outcome.failed

        self._shared.pending = wait
        return (False,)

    def _is_binary(self, kind: Any, data: bytes) -> bool:
        """On raw TCP ports scripts need not say so: their clients know no kinds."""
        try:
            return _binary(kind, data)
        except ValueError:
            if self._shared.raw and kind is None:
                return True
            raise

    def _queue_push(self, client_id: bytes | None, topic: bytes, data: bytes, encoded: bool) -> Any:
        queue = self._shared.options.queue
        if queue is None:
            raise ValueError("queue is not configured")
        item: object = msgspec.Raw(data) if encoded else _name(data)
        if client_id is None:
            return True, queue.push(_name(topic), item)
        stored = queue.put(_name(topic), item, client_id.decode())
        if isinstance(stored, int):
            return True, stored

        async def wait() -> tuple[Any, ...]:
            try:
                return (await stored,)
            except TowlineError as error:
                return None, told(error)

        self._shared.pending = wait
        return (False,)

    # -- Redis and HTTP

    def _redis(self, name: bytes, *parts: bytes) -> tuple[Any, ...]:
        client = self._shared.redis.get(_name(name))

        async def wait() -> tuple[Any, ...]:
            try:
                return (await client.command(*parts),)
            except (OSError, ValueError, TimeoutError) as error:
                return None, f"redis: {error or type(error).__name__}".encode()

        self._shared.pending = wait
        return (False,)

    def _http(self, method: bytes, url: bytes, options: Any) -> tuple[Any, ...]:
        given = {} if options is None else text_keys(from_lua(options))
        make = self._shared.http.prepare(_name(method), _name(url), given if isinstance(given, dict) else {})

        async def wait() -> tuple[Any, ...]:
            try:
                return (await make(),)
            except (OSError, ValueError, TimeoutError) as error:
                return None, f"http: {error or type(error).__name__}".encode()

        self._shared.pending = wait
        return (False,)


class _Answer:
    """A send or publish: its outcome is there at once unless other nodes have to answer."""

    def __init__(self, start: Callable[[Callable[[Any], object]], None]) -> None:
        self.outcome: Any = None
        self._future: Any = None
        start(self._done)

    def _done(self, outcome: Any) -> None:
        self.outcome = outcome
        if self._future is not None and not self._future.done():
            self._future.set_result(outcome)

    async def wait(self) -> Any:
        if self.outcome is None:
            self._future = asyncio.get_running_loop().create_future()
            await self._future
        return self.outcome


def _not_sent(client_id: str, outcome: Any) -> bytes | None:
    problem = send_problem(client_id, outcome)
    return None if problem is None else str(problem).encode()


def _short_enough(limit: int, data: bytes) -> None:
    if len(data) > limit:
        raise InvalidInput("gateway.too_long", f"{len(data)} bytes; the limit is {limit}")


def _name(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _channels(names: tuple[Any, ...]) -> list[Any]:
    """As texts; what is none is refused by the connection, with its name."""
    return [_name(name) if isinstance(name, bytes) else name for name in names]


def _binary(kind: Any, data: bytes) -> bool:
    if kind is None or kind == b"text":
        if not data.isascii():
            try:
                data.decode()
            except UnicodeDecodeError:
                raise ValueError('the text is not UTF-8; send it with type "binary"') from None
        return False
    if kind == b"binary":
        return True
    raise ValueError('the type must be "text" or "binary"')
