# SPDX-License-Identifier: Apache-2.0
"""The gateway as operators see it: nodes, channels, topics, clients; send, publish, disconnect.

Every question goes to the nodes over the bus, and their answers are put together here. A node that does not answer within
:data:`ANSWER_S` is named in ``silent``: what it holds is missing from the counts.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import msgspec

from towline.bus.base import BusCallError, BusTimeout, BusUnreachable, Member
from towline.errors import InvalidInput, NotFound, TowlineError, Unavailable
from towline.hub.actor import Actor
from towline.hub.core import Core
from towline.hub.devices import check_limit
from towline.protocols.connmix import inspect as wire
from towline.protocols.connmix.clientid import node_of

ANSWER_S = 1.0
"""How long a node has for its answer."""

ACT_S = 5.0
"""How long a node has for an action; it may itself wait for others."""

DISCONNECT = 3020
"""The close code when none is given: an operator closed it, the client may come back."""

REASON = "disconnected by an operator"

T = TypeVar("T", bound=msgspec.Struct)


class GatewayNode(NamedTuple):
    """A living node; ``status`` is None when it did not answer."""

    member: Member
    status: wire.Status | None


class ChannelView(NamedTuple):
    """A channel, its subscribers on all nodes that answered, and on how many nodes they are."""

    name: str
    subscribers: int
    nodes: int


class ChannelList(NamedTuple):
    """The fullest channels. ``more``: there are others. ``silent``: numbers of nodes that did not answer."""

    channels: list[ChannelView]
    more: bool
    silent: list[int]


class TopicView(NamedTuple):
    """A topic, put together over the nodes that answered. Every node has a queue of its own for it, unless it is durable."""

    name: str
    depth: int
    consumers: int
    away: int
    durable: bool
    nodes: int


class TopicList(NamedTuple):
    """As :class:`ChannelList`."""

    topics: list[TopicView]
    more: bool
    silent: list[int]


class ClientView(NamedTuple):
    """A client in a list, and the number of its node."""

    node: int
    client: wire.Client


class ClientList(NamedTuple):
    """Newest first. ``next`` is passed back as ``after``; None at the end."""

    clients: list[ClientView]
    next: str | None
    silent: list[int]


class ClientDetails(NamedTuple):
    """Everything about one client."""

    node: int
    details: wire.ClientDetails


class Gateway:
    """Use cases of the privilege family ``gateway``."""

    def __init__(self, core: Core) -> None:
        self._core = core

    # -- what there is

    async def nodes(self, actor: Actor) -> list[GatewayNode]:
        """The nodes that live, oldest first."""
        self._core.check(actor, "gateway.list")
        members = self._members()
        told = await self._ask(members, wire.AskStatus(), wire.Status)
        return [GatewayNode(member, status) for member, status in zip(members, told, strict=True)]

    async def channels(self, actor: Actor, search: str = "", limit: int = 100) -> ChannelList:
        """Channels with most subscribers whose name contains ``search``.

        A channel that is among the fullest of one node is counted on all; one that is just below the limit on every
        node may be missing.
        """
        self._core.check(actor, "gateway.channels")
        check_limit(limit, wire.MAX_ROWS)
        members = self._members()
        told = await self._ask(members, wire.AskChannels(search=search, limit=limit), wire.Channels)
        more = any(one.matching > len(one.channels) for one in told if one)
        if more and len(members) > 1:
            await self._complete(members, told)
        found: dict[str, list[int]] = {}
        for one in told:
            for channel in one.channels if one else ():
                found.setdefault(channel.name, []).append(channel.subscribers)
        every = [ChannelView(name, sum(counts), len(counts)) for name, counts in found.items()]
        best = heapq.nsmallest(limit, every, key=lambda one: (-one.subscribers, one.name))
        return ChannelList(best, more or len(every) > limit, _silent(members, told))

    async def _complete(self, members: Sequence[Member], told: list[wire.Channels | None]) -> None:
        """Ask each node for the channels that only others named."""
        names = {channel.name for one in told if one for channel in one.channels}

        async def rest(member: Member, one: wire.Channels | None) -> wire.Channels | None:
            lacking = [] if one is None else sorted(names - {channel.name for channel in one.channels})
            if one is None or not lacking:
                return one
            channels = list(one.channels)
            for part in _parts(lacking):
                (answer,) = await self._ask([member], wire.AskChannels(names=part), wire.Channels)
                channels += answer.channels if answer else []
            return wire.Channels(channels=channels, matching=one.matching)

        told[:] = await asyncio.gather(*(rest(member, one) for member, one in zip(members, told, strict=True)))

    async def topics(self, actor: Actor, search: str = "", limit: int = 100) -> TopicList:
        """Topics whose name contains ``search``, the fullest first."""
        self._core.check(actor, "gateway.topics")
        check_limit(limit, wire.MAX_ROWS)
        members = self._members()
        told = await self._ask(members, wire.AskTopics(search=search, limit=wire.MAX_ROWS), wire.Topics)
        found: dict[str, TopicView] = {}
        for one in told:
            for topic in one.topics if one else ():
                had = found.get(topic.name) or TopicView(topic.name, 0, 0, 0, False, 0)
                found[topic.name] = TopicView(
                    topic.name,
                    max(had.depth, topic.depth) if topic.durable else had.depth + topic.depth,
                    had.consumers + topic.consumers,
                    had.away + topic.away,
                    had.durable or topic.durable,
                    had.nodes + 1,
                )
        best = heapq.nsmallest(limit, found.values(), key=lambda one: (-one.depth, one.name))
        cut = any(one.matching > len(one.topics) for one in told if one)
        return TopicList(best, cut or len(found) > limit, _silent(members, told))

    async def clients(
        self,
        actor: Actor,
        search: str = "",
        channel: str = "",
        node: int | None = None,
        limit: int = 100,
        after: str = "",
    ) -> ClientList:
        """Clients, newest first; ``search`` is the beginning of an id or address, ``after`` a former page's ``next``."""
        self._core.check(actor, "gateway.clients")
        check_limit(limit, wire.MAX_ROWS)
        if after and node_of(after) < 0:
            raise InvalidInput("gateway.client_id", f"{after[:40]!r} is no client id", where="after")
        members = [one for one in self._members() if node is None or one.number == node]
        ask = wire.AskClients(search=search, channel=channel, after=after, limit=limit)
        told = await self._ask(members, ask, wire.Clients)
        every = [
            ClientView(member.number, client)
            for member, one in zip(members, told, strict=True)
            for client in (one.clients if one else ())
        ]
        every.sort(key=lambda one: int(one.client.id), reverse=True)
        more = len(every) > limit or any(one.more for one in told if one)
        shown = every[:limit]
        return ClientList(shown, shown[-1].client.id if more and shown else None, _silent(members, told))

    async def client(self, actor: Actor, client_id: str) -> ClientDetails:
        """One client. NotFound ``client.unknown``."""
        self._core.check(actor, "gateway.client")
        member = self._node_of(client_id)
        question = wire.AskClient(client_id=client_id)
        return ClientDetails(member.number, await self._call(member, question, wire.ClientDetails, ANSWER_S))

    # -- what can be done

    async def send(self, actor: Actor, client_id: str, data: bytes, *, binary: bool = False) -> wire.Sent:
        """Send to one client: one sent, or one failed because it is too far behind. NotFound ``client.unknown``."""
        self._core.check(actor, "gateway.send")
        member = self._node_of(client_id)
        sent = await self._call(member, wire.DoSend(client_id=client_id, data=data, binary=binary), wire.Sent, ACT_S)
        if not sent.sent and not sent.failed:
            raise _unknown(client_id)
        await self._core.audit(
            actor,
            "gateway.send",
            "client",
            client_id,
            bytes=len(data),
            binary=binary,
            sent=sent.sent,
            failed=sent.failed,
        )
        return sent

    async def publish(self, actor: Actor, channel: str, data: bytes, *, binary: bool = False) -> wire.Sent:
        """Publish to every subscriber on every node. Unavailable ``gateway.no_node`` without a node."""
        self._core.check(actor, "gateway.publish")
        question = wire.DoPublish(channel=channel, data=data, binary=binary)
        for member in self._members():
            try:
                sent = await self._call(member, question, wire.Sent, ACT_S)
            except BusUnreachable:  # nothing was carried out there: the next one may
                continue
            await self._core.audit(
                actor,
                "gateway.publish",
                "channel",
                channel[:256],
                bytes=len(data),
                binary=binary,
                sent=sent.sent,
                failed=sent.failed,
            )
            return sent
        raise Unavailable("gateway.no_node", "there is no gateway node")

    async def disconnect(self, actor: Actor, client_id: str, code: int = DISCONNECT, reason: str = REASON) -> None:
        """Close a client with 1000 or a code of 3000 to 4999. NotFound ``client.unknown``."""
        self._core.check(actor, "gateway.disconnect")
        if code != 1000 and not 3000 <= code <= 4999:
            raise InvalidInput(
                "gateway.close_code", f"a close code is 1000 or 3000 to 4999, not {code}", where="$.code"
            )
        member = self._node_of(client_id)
        question = wire.DoDisconnect(client_id=client_id, code=code, reason=reason)
        await self._call(member, question, wire.Sent, ANSWER_S)
        await self._core.audit(actor, "gateway.disconnect", "client", client_id, code=code, reason=reason)

    # -- inside

    def _members(self) -> list[Member]:
        return self._core.endpoint.members("node")

    def _node_of(self, client_id: str) -> Member:
        number = node_of(client_id)
        # Should a number be seen twice for a moment, the youngest holder has the lease.
        for member in reversed(self._members()):
            if member.number == number >= 0:
                return member
        raise _unknown(client_id)

    async def _ask(self, members: Sequence[Member], question: wire.Question, kind: type[T]) -> list[T | None]:
        """One answer a node, None from one that does not answer."""
        payload = wire.encode(question)

        async def one(member: Member) -> T | None:
            try:
                return wire.decode_answer(await self._core.endpoint.call(member.address, payload, ANSWER_S), kind)
            except (TowlineError, wire.InspectFormatError):
                self._core.counters["gateway.unanswered"] += 1
                return None

        return list(await asyncio.gather(*(one(member) for member in members)))

    async def _call(self, member: Member, question: wire.Question, kind: type[T], timeout: float) -> T:
        try:
            answer = await self._core.endpoint.call(member.address, wire.encode(question), timeout)
            return wire.decode_answer(answer, kind)
        except BusCallError as error:
            raise _as_told(error) from None
        except BusTimeout:
            raise Unavailable(
                "gateway.node_silent",
                f"gateway node {member.number} did not answer in time; whether it was done is not known",
            ) from None
        except wire.InspectFormatError as error:
            raise Unavailable("gateway.node_answer", f"gateway node {member.number} answers oddly: {error}") from None


def _as_told(error: BusCallError) -> TowlineError:
    """What a node raised, as the kind it was."""
    kinds: dict[str, type[TowlineError]] = {
        "client.unknown": NotFound,
        "gateway.too_long": InvalidInput,
        "gateway.channel_name": InvalidInput,
        "gateway.client_id": InvalidInput,
    }
    return kinds.get(error.code, Unavailable)(error.code, error.message)


def _unknown(client_id: str) -> NotFound:
    return NotFound("client.unknown", f"client {client_id[:40]!r} is not connected")


def _silent(members: Sequence[Member], told: Sequence[object | None]) -> list[int]:
    return [member.number for member, one in zip(members, told, strict=True) if one is None]


def _parts(names: Sequence[str]) -> list[list[str]]:
    """Names in questions that the bus can carry."""
    parts: list[list[str]] = [[]]
    room = wire.LIST_BYTES
    for name in names:
        size = len(name.encode()) + 8
        if size > room or len(parts[-1]) == wire.MAX_ROWS:
            parts.append([])
            room = wire.LIST_BYTES
        parts[-1].append(name)
        room -= size
    return parts
