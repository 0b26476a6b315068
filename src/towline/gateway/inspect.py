# SPDX-License-Identifier: Apache-2.0
"""A node answers a hub: what it holds, and a few actions (:mod:`towline.protocols.connmix.inspect`).

Links of agents are no clients here: they are counted, never listed, and no action reaches them. A node may hold a million
clients and channels: tables are copied at once and walked in pieces, so that traffic goes on between them.
"""

from __future__ import annotations

import asyncio
import heapq
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import psutil

from towline import __version__
from towline.errors import InvalidInput, NotFound
from towline.gateway.addresses import join_address
from towline.gateway.announce import API
from towline.gateway.channels import check_channel
from towline.gateway.contextvalues import problem_of, text_keys
from towline.protocols.connmix import inspect as wire
from towline.protocols.connmix.clientid import issued_ms

if TYPE_CHECKING:
    from towline.gateway.channels import Channel
    from towline.gateway.connections import Connection
    from towline.gateway.listener import ClientPort
    from towline.gateway.node import Node
    from towline.gateway.queues import Topic

PIECE = 2000
"""Rows looked at before other work of the loop comes in between."""

ROW_BYTES = 64
"""What a row takes besides its texts."""

_T = TypeVar("_T")


class Inspector:
    """Answers a node's calls."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._process = psutil.Process()

    def answer(self, payload: bytes) -> bytes | Awaitable[bytes]:
        """One call. InvalidInput ``gateway.call_unknown`` for what is no question."""
        try:
            question = wire.decode_question(payload)
        except wire.InspectFormatError as error:
            raise InvalidInput("gateway.call_unknown", f"a node answers no such call: {error}") from None
        match question:
            case wire.AskStatus():
                return wire.encode(self.status())
            case wire.AskTopics():
                return wire.encode(self._topics(question))
            case wire.AskClient():
                return wire.encode(self._details(self._client(question.client_id)))
            case wire.DoDisconnect():
                self._client(question.client_id).close(question.code, question.reason)
                return wire.encode(wire.Sent(sent=1))
            case wire.AskChannels():
                return self._encoded(self._channels(question))
            case wire.AskClients():
                return self._encoded(self._clients(question))
            case wire.DoSend():
                return self._encoded(self._send(question))
            case wire.DoPublish():
                return self._encoded(self._publish(question))

    async def _encoded(self, answer: Awaitable[msgspec.Struct]) -> bytes:
        return wire.encode(await answer)

    # -- figures

    def status(self) -> wire.Status:
        """The node at this moment."""
        node = self._node
        queues, outbox = node.queues, node.outbox.counters
        return wire.Status(
            number=node.number,
            version=__version__,
            api_server=node.announced.get(API, ""),
            clients=len(node.realm.connections),
            links=len(node.links),
            channels=len(node.channels),
            topics=len(queues.topics),
            queued=queues.waiting,
            queued_bytes=queues.bytes,
            consumers=queues.consumers,
            behind=len(node.outbox.behind),
            loop_lag_ms=round(node.loop_lag.worst * 1000, 1),
            memory_bytes=self._process.memory_info().rss,
            draining=node.closing,
            counters={
                "messages_in": sum(port.counters.messages for port in node.ports),
                "frames_out": outbox.frames,
                "frames_refused": outbox.refused,
                "slow": outbox.slow,
                "accepted": sum(port.counters.accepted for port in node.ports),
                "closed": sum(port.counters.closed.total() for port in node.ports),
                "publishes": node.mesh.counters.publishes,
                "sends": node.mesh.counters.sends,
                "silent": node.mesh.answers.silent,
                "queue_pushed": queues.counters.pushed,
                "queue_delivered": queues.counters.delivered,
                "queue_refused": queues.counters.refused.total(),
                "queue_lost": queues.counters.lost,
                "api_requests": node.server.counters.requests,
                "api_messages": node.sockets.requests,
                "entry_errors": sum(port.counters.entry_errors for port in node.ports),
            },
            listeners=[_listener(port) for port in node.ports],
        )

    # -- lists

    async def _channels(self, ask: wire.AskChannels) -> wire.Channels:
        channels = self._node.channels
        if ask.names:
            found = [one for name in ask.names[: wire.MAX_ROWS] if (one := channels.get(name)) is not None]
            return wire.Channels(channels=[_channel(one) for one in found], matching=len(found))
        limit, matching = _rows(ask.limit), 0
        best: list[Channel] = []
        async for piece in _pieces(list(channels)):
            named = [one for one in piece if ask.search in one.name] if ask.search else piece
            matching += len(named)
            best = heapq.nsmallest(limit, [*best, *named], key=_fullest)
        fitting = _fitting(best, lambda one: len(one.name.encode("utf-8", "replace")))
        return wire.Channels(channels=[_channel(one) for one in fitting], matching=matching)

    def _topics(self, ask: wire.AskTopics) -> wire.Topics:
        queues = self._node.queues
        every = [_topic(one) for one in queues.topics.values()]
        if queues.durable is not None:
            for name, depth, _, unacked in queues.durable.figures():
                consumers = queues.durable.consumers(name)
                every.append(
                    wire.Topic(name=wire.clean(name), depth=depth, consumers=consumers, away=unacked, durable=True)
                )
        found = [one for one in every if ask.search in one.name]
        best = heapq.nsmallest(_rows(ask.limit), found, key=lambda one: (-one.depth, one.name))
        return wire.Topics(topics=_fitting(best, lambda one: len(one.name.encode())), matching=len(found))

    async def _clients(self, ask: wire.AskClients) -> wire.Clients:
        limit = _rows(ask.limit)
        before = _id_number(ask.after) if ask.after else 1 << 64
        found = await (
            self._subscribers(ask, before, limit + 1) if ask.channel else self._newest(ask, before, limit + 1)
        )
        return wire.Clients(clients=[self._row(one) for one in found[:limit]], more=len(found) > limit)

    async def _newest(self, ask: wire.AskClients, before: int, limit: int) -> list[Connection]:
        """Ids grow with time, and the table is in the order of arrival: the end of it is what is wanted."""
        connections = self._node.realm.connections
        ids = list(connections)
        del ids[bisect_left(ids, before, key=int) :]
        ids.reverse()
        found: list[Connection] = []
        async for piece in _pieces(ids):
            for client_id in piece:
                one = connections.get(client_id)
                if one is not None and _matches(one, ask.search):
                    found.append(one)
                    if len(found) == limit:
                        return found
        return found

    async def _subscribers(self, ask: wire.AskClients, before: int, limit: int) -> list[Connection]:
        """Members of a channel are in the order of their subscribing."""
        channel = self._node.channels.get(ask.channel)
        found: list[Connection] = []
        async for piece in _pieces([] if channel is None else list(channel.members)):
            new = [one for one in piece if int(one.id) < before and _matches(one, ask.search)]
            found = heapq.nlargest(limit, [*found, *new], key=lambda one: int(one.id))
        return [one for one in found if not one.closing]

    def _row(self, one: Connection) -> wire.Client:
        return wire.Client(
            id=one.id,
            listener=one.listener,
            remote_addr=one.remote_addr,
            since_us=issued_ms(one.id) * 1000,
            channels=len(one.channels),
            waiting=self._node.outbox.waiting(one),
        )

    # -- one client

    def _client(self, client_id: str) -> Connection:
        found = self._node.realm.connections.get(client_id)
        if found is None:
            raise NotFound("client.unknown", f"client {client_id[:40]!r} is not connected")
        return found

    def _details(self, one: Connection) -> wire.ClientDetails:
        port = self._node.ports[one.listener]
        context, omitted = _context(one.context())
        names = [wire.clean(name) for name in one.channels]
        handshake = one.handshake
        return wire.ClientDetails(
            client=self._row(one),
            listen=join_address(*port.address),
            entry=port.handler.name if port.handler else "",
            protocol=port.settings.protocol,
            path=wire.clean(handshake.path)[:2048],
            user_agent=wire.clean(handshake.headers.get("User-Agent", ""))[:1024],
            context=context,
            omitted=omitted,
            channels=_fitting(names, lambda name: len(name.encode()), wire.LIST_BYTES // 2),
            channel_count=len(names),
            behind=one in self._node.outbox.behind,
        )

    # -- actions

    async def _send(self, ask: wire.DoSend) -> wire.Sent:
        done: asyncio.Future[wire.Sent] = asyncio.get_running_loop().create_future()
        mesh = self._node.mesh
        _check_size(ask.data, mesh.max_data_bytes)
        mesh.send_then(ask.client_id, ask.data, ask.binary, lambda outcome: _settle(done, *outcome))
        return await done

    async def _publish(self, ask: wire.DoPublish) -> wire.Sent:
        mesh = self._node.mesh
        _check_size(ask.data, mesh.max_data_bytes)
        done: asyncio.Future[wire.Sent] = asyncio.get_running_loop().create_future()
        mesh.publish_then(check_channel(ask.channel), ask.data, ask.binary, lambda outcome: _settle(done, *outcome))
        return await done


def _settle(done: asyncio.Future[wire.Sent], sent: int, failed: int, silent: int = 0) -> None:
    if not done.done():
        done.set_result(wire.Sent(sent=sent, failed=failed, silent=silent))


def _check_size(data: bytes, limit: int) -> None:
    if len(data) > limit:
        raise InvalidInput("gateway.too_long", f"{len(data)} bytes; the limit is {limit}")


async def _pieces(rows: Sequence[_T]) -> AsyncIterator[Sequence[_T]]:
    for start in range(0, len(rows), PIECE):
        if start:
            await asyncio.sleep(0)
        yield rows[start : start + PIECE]


def _rows(limit: int) -> int:
    return max(1, min(limit, wire.MAX_ROWS))


def _fitting(rows: Iterable[_T], size: Callable[[_T], int], budget: int = wire.LIST_BYTES) -> list[_T]:
    """The first rows, as many as an answer can carry."""
    found = []
    for row in rows:
        budget -= size(row) + ROW_BYTES
        if budget < 0:
            break
        found.append(row)
    return found


def _fullest(channel: Channel) -> tuple[int, str]:
    return -channel.subscribers, channel.name


def _channel(channel: Channel) -> wire.Channel:
    return wire.Channel(wire.clean(channel.name), channel.subscribers)


def _topic(topic: Topic) -> wire.Topic:
    return wire.Topic(
        name=wire.clean(topic.name),
        depth=len(topic.items) + topic.away,
        consumers=len(topic.consumers),
        away=topic.away,
    )


def _listener(port: ClientPort) -> wire.Listener:
    counters = port.counters
    return wire.Listener(
        number=port.number,
        listen=join_address(*port.address),
        path=port.settings.path,
        protocol=port.settings.protocol,
        tls=bool(port.settings.certificate),
        entry=port.handler.name if port.handler else "",
        clients=len(port.clients),
        accepted=counters.accepted,
        messages=counters.messages,
        entry_errors=counters.entry_errors,
        refused=dict(counters.refused),
        closed=dict(counters.closed),
    )


def _id_number(client_id: str) -> int:
    if not client_id.isascii() or not client_id.isdigit() or len(client_id) > 20:
        raise InvalidInput("gateway.client_id", f"{client_id[:40]!r} is no client id")
    return int(client_id)


def _matches(one: Connection, search: str) -> bool:
    return one.id.startswith(search) or one.remote_addr.startswith(search)


def _context(context: dict[str, Any]) -> tuple[bytes, list[str]]:
    """The context as a JSON object, and the keys that do not fit or cannot be said in JSON."""
    parts: list[bytes] = []
    omitted: list[str] = []
    room = wire.CONTEXT_BYTES
    for key, value in context.items():
        name = wire.clean(str(key))
        try:
            # A script in Python may set anything.
            if problem := problem_of(value):
                raise ValueError(problem)
            part = msgspec.json.encode(name) + b":" + msgspec.json.encode(text_keys(value))
        except (TypeError, ValueError, OverflowError, RecursionError):
            part = b""
        if not part or len(part) >= room:
            omitted.append(name[:256])
            continue
        room -= len(part) + 1
        parts.append(part)
    return b"{" + b",".join(parts) + b"}", _fitting(omitted, lambda name: len(name) * 4, 16 * 1024)
