# SPDX-License-Identifier: Apache-2.0
"""Messages from a back end to clients of the gateway, over one WebSocket to any node (spec connmix §3).

Requests are carried out in the order they were made. When the socket is lost it is opened again, at another node if the
mesh has one, else with backoff and jitter; a request that was under way then fails with ``push.disconnected``: whether it
was carried out is not known.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import random
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import unquote, urlsplit

import msgspec
import picows

from towline.client import nodes
from towline.client.keepalive import keep_alive
from towline.errors import InvalidInput, TowlineError, Unavailable

log = logging.getLogger("towline.client")

_quiet_log = logging.getLogger("towline.client.picows")
_quiet_log.setLevel(logging.CRITICAL)
quiet: logging.LoggerAdapter[logging.Logger] = logging.LoggerAdapter(_quiet_log, {})

Kind = Literal["text", "binary"]

LOST_EARLY = "the connection was lost before the node answered"
"""picows reports it with a missing listener, not with an error."""

FIRST_DELAY_S = 0.1
LAST_DELAY_S = 10.0

LEARN_AFTER_S = 0.5

STEADY_S = 1.0
"""A connection that held this long begins the backoff anew."""


class PushError(TowlineError):
    """The node refused a request: ``code`` is ``push.`` and the number of the API (101, 301, 401, …)."""


class Counts(NamedTuple):
    """What became of a publish: how many connections' outboxes took it, and how many refused it."""

    sent: int
    failed: int


class _Answer(msgspec.Struct):
    E: dict[str, Any] | None = None
    r: dict[str, Any] | None = None
    i: int | None = None


_decode = msgspec.json.Decoder(_Answer).decode


class PushClient:
    """A connection to the push API of one node; messages go to clients of every node.

    :param url: ``http://host:6789`` or ``ws://…`` of any node; user and password may stand in it
    :param every_node: False: stay with the one node, also when it is gone
    :param timeout: seconds that a request may take, reconnecting included
    :param ping_s: how often to say that this socket lives; a node that answers three times nothing is given up
    :param nodes_s: how often to ask for the nodes
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:6789",
        *,
        username: str = "",
        password: str = "",
        every_node: bool = True,
        timeout: float = 10.0,
        ping_s: float = 20.0,
        nodes_s: float = 30.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._url, headers = socket_url(url, username, password)
        self._headers = headers
        self._every_node = every_node
        self._timeout = timeout
        self._ping_s = ping_s
        self._nodes_s = nodes_s
        self._jitter = jitter
        self._transport: picows.WSTransport | None = None
        self._ready = asyncio.Event()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._task: asyncio.Task[None] | None = None
        self._refusal: TowlineError | None = None
        self._others: list[str] = []
        self._heard = False
        self.reconnects = 0
        self.connected_to = ""
        """URL of the socket that is open now; empty without one."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(self._keep_open())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the socket; what is under way fails with ``push.disconnected``."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass

    # -- requests

    async def publish(self, channel: str, data: str | bytes, kind: Kind | None = None) -> Counts:
        """Send to every subscriber of ``channel``. ``bytes`` go as a binary message, ``str`` as text."""
        result = await self._request("mesh.publish", {"c": channel, **_payload(data, kind)})
        return Counts(result["s"], result["f"])

    async def send(self, client_id: str, data: str | bytes, kind: Kind | None = None) -> None:
        """Send to one client. PushError ``push.401`` when it is not connected or cannot take it."""
        await self._request("mesh.send", {"c": client_id, **_payload(data, kind)})

    async def call(self, client_id: str, function: str, *arguments: Any) -> None:
        """``set_context``, ``set_context_value``, ``subscribe`` or ``unsubscribe`` on a client's connection."""
        await self._request("conn.call", {"c": client_id, "f": function, "a": list(arguments)})

    async def _request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if self._task is None:
            raise Unavailable("push.closed", "the push client is closed; use it as `async with PushClient(...)`")
        try:
            async with asyncio.timeout(self._timeout):
                await self._connected()
                self._number += 1
                number = self._number
                future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
                self._waiting[number] = future
                text = msgspec.json.encode({"m": method, "p": params, "i": number})
                assert self._transport is not None
                self._transport.send(picows.WSMsgType.TEXT, text)
                try:
                    return await future
                finally:
                    self._waiting.pop(number, None)
        except TimeoutError:
            raise Unavailable("push.timeout", f"no answer from the node within {self._timeout} s") from None

    async def _connected(self) -> None:
        while self._transport is None:
            if self._refusal is not None:
                raise self._refusal
            self._ready.clear()
            await self._ready.wait()

    # -- the socket

    async def _keep_open(self) -> None:
        delay, lost = FIRST_DELAY_S, ""
        try:
            while True:
                # The node whose connection was just lost is tried last.
                urls = sorted([self._url, *self._others], key=lambda url: url == lost)
                began, refused = 0.0, None
                for url in urls:
                    transport, problem = await self._open(url)
                    if transport is not None:
                        began, lost = asyncio.get_running_loop().time(), url
                        await self._use(transport, url)
                        self.reconnects += 1
                        break
                    refused = refused or problem
                if began and asyncio.get_running_loop().time() - began > STEADY_S:
                    delay = FIRST_DELAY_S
                elif not began and refused is not None:
                    self._refusal = refused
                    self._ready.set()
                await asyncio.sleep(delay * (0.5 + self._jitter()))
                delay = min(delay * 2, LAST_DELAY_S)
        finally:
            self._fail_all("the push client was closed")

    async def _open(self, url: str) -> tuple[picows.WSTransport | None, TowlineError | None]:
        """A socket; or none, and an answer that waiting will not change if it was one."""
        try:
            transport, connected = await picows.ws_connect(
                lambda: _Listener(self),
                url,
                extra_headers=self._headers,
                logger_name=quiet,
                max_frame_size=16 * 1024 * 1024,
                websocket_handshake_timeout=self._timeout,
            )
        except (OSError, picows.WSError, TimeoutError) as error:
            log.info("no connection to the push API", extra={"url": url, "reason": str(error)})
            return None, refusal(error)
        if connected is None:
            log.info("no connection to the push API", extra={"url": url, "reason": LOST_EARLY})
            return None, None
        return transport, None

    async def _use(self, transport: picows.WSTransport, url: str) -> None:
        """Until the socket is gone: ping now and then, and learn where else to go."""
        self._refusal = None
        self._transport, self.connected_to = transport, url
        self._ready.set()
        learning = asyncio.ensure_future(self._learn(url)) if self._every_node else None
        try:
            await keep_alive(transport, self._ping_s, self._something_came)
        finally:
            self._transport, self.connected_to = None, ""
            transport.disconnect(graceful=False)
            self._fail_all("the connection was lost; whether the request was carried out is not known")
            if learning is not None:
                learning.cancel()
                await asyncio.wait((learning,))

    async def _learn(self, url: str) -> None:
        """Keep the list of other nodes; what an earlier node said counts until this one says something."""
        # Who comes for one message need not know all nodes.
        await asyncio.sleep(min(LEARN_AFTER_S, self._nodes_s))
        async with nodes.client(self._headers) as client:
            while True:
                listed = await nodes.learn(client, url)
                if listed is not None:
                    self._others = nodes.others(self._url, listed)
                await asyncio.sleep(self._nodes_s * (0.75 + self._jitter() / 2))

    def _something_came(self) -> bool:
        heard, self._heard = self._heard, False
        return heard

    def answered(self, text: bytes) -> None:
        """A frame from the node."""
        self._heard = True
        if text == b"pong":
            return
        try:
            answer = _decode(text)
        except msgspec.DecodeError:
            return
        future = None if answer.i is None else self._waiting.get(answer.i)
        if future is None or future.done():
            return
        if answer.E is not None:
            future.set_exception(PushError(f"push.{answer.E.get('c')}", str(answer.E.get("m"))))
        else:
            future.set_result(answer.r or {})

    def _fail_all(self, reason: str) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Unavailable("push.disconnected", reason))


class _Listener(picows.WSListener):
    def __init__(self, client: PushClient) -> None:
        self._client = client

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type is picows.WSMsgType.TEXT:
            self._client.answered(frame.get_payload_as_bytes())
        elif frame.msg_type is picows.WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()


def _payload(data: str | bytes, kind: Kind | None) -> dict[str, str]:
    if kind == "binary" or (kind is None and not isinstance(data, str)):
        raw = data.encode() if isinstance(data, str) else data
        return {"d": base64.b64encode(raw).decode("ascii"), "t": "binary"}
    return {"d": data if isinstance(data, str) else data.decode()}


def socket_url(url: str, username: str, password: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise InvalidInput("push.url", f"{url!r} is not http://host:port")
    name, secret = username or unquote(parts.username or ""), password or unquote(parts.password or "")
    headers = {}
    if name:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode("ascii")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = parts.path.rstrip("/")
    if not path.endswith("/ws/v1"):
        path += "/ws/v1"
    return f"{scheme}://{host}:{parts.port or (443 if scheme == 'wss' else 80)}{path}", headers


def refusal(error: Exception) -> TowlineError | None:
    """An answer that waiting will not change: wrong credentials, or no push API."""
    status = getattr(getattr(error, "response", None), "status", None)
    if status is not None and 400 <= int(status) < 500:
        return PushError(f"push.http_{int(status)}", f"the node refused the connection with status {int(status)}")
    return None
