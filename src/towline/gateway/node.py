# SPDX-License-Identifier: Apache-2.0
"""A gateway node: client ports, the push API, its side of the mesh, and the agents' links."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal

import msgspec

from towline import __version__
from towline.bus.base import Bus, Endpoint, Member
from towline.clock import Clock
from towline.gateway import metrics
from towline.gateway.addresses import join_address
from towline.gateway.announce import announcement, listed_nodes
from towline.gateway.apiport import ApiPort
from towline.gateway.center import COUNTS_CALL, CenterApi, Counts, open_center
from towline.gateway.channels import Channels
from towline.gateway.closecodes import DRAINING, SLOW, STALLED
from towline.gateway.connections import Connection, Realm
from towline.gateway.durable import DurableTopics, declared
from towline.gateway.durations import SendDurations
from towline.gateway.figures import LoopLag, figures
from towline.gateway.inspect import Inspector
from towline.gateway.link_entry import LinkEntry
from towline.gateway.listener import ClientPort
from towline.gateway.mesh import Mesh
from towline.gateway.outbox import Outbox
from towline.gateway.ports import Ports
from towline.gateway.pushws import PushSockets
from towline.gateway.queuemesh import QueueMesh
from towline.gateway.queues import Queues
from towline.gateway.service import PushService
from towline.gateway.settings import GatewaySettings
from towline.gateway.snowflake import Snowflakes
from towline.gateway.tls import Certificates
from towline.protocols.connmix.mesh import is_mesh
from towline.store.base.topics import TopicStore

log = logging.getLogger("towline.gateway")

TICK_S = 1.0
"""How often offers of messages to other nodes, and clients that are behind, are looked after."""

ANSWER_S = 2.0
"""How long a node that stops waits for clients, then for back ends, to answer its close."""

FINISH_S = 2.0
"""How long it then waits for entries' ``on_close``, and for consumers to take what waits in topics."""


class Node:
    """One gateway node on a bus.

    :param topics: where the durable topics of the settings are kept; whoever made it closes it, after the node
    """

    def __init__(self, bus: Bus, clock: Clock, settings: GatewaySettings, topics: TopicStore | None = None) -> None:
        self._bus = bus
        self.announced: dict[str, str] = {}
        """what this node tells of its push API"""
        self._topics = topics
        self._clock = clock
        self._settings = settings
        self._endpoint: Endpoint | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._center: CenterApi | None = None
        self._certificates = Certificates()
        self.ports: list[ClientPort] = []
        self.api_address: tuple[str, int] = ("", 0)
        self.clients_address: tuple[str, int] = ("", 0)
        self.link_address: tuple[str, int] = ("", 0)
        self.closing = False
        self._built = False
        self._inspector = Inspector(self)

    # -- life

    async def start(self) -> None:
        """Listen and join the bus. StartError when a port, an entry or the bus cannot be had."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        self._built = True
        self.loop_lag = LoopLag(loop)
        self.outbox = Outbox(loop.call_soon, self._on_slow, self._on_stalled)
        self.channels = Channels()
        self.realm = Realm(self.outbox, self.channels)
        self.mesh = Mesh(self.realm, loop, settings.answer_s, settings.max_push_bytes)
        self.mesh.durations = SendDurations(loop, settings.summary)
        self.queues = Queues(settings.queue, settings.max_push_bytes, lambda: self.number)
        if self._topics is not None:
            rules = declared(settings.queue)[1]
            origin = f"{secrets.token_urlsafe(6)}."
            self.queues.durable = DurableTopics(self._topics, rules, loop.time, lambda: self.number, origin)
        self.realm.queues = self.queues
        self.queue_mesh = QueueMesh(self.queues, loop.time, lambda: self.mesh.others)
        self.mesh.on_queue = self.queue_mesh.on_message
        self.ids = Snowflakes(self._clock)
        self.links = LinkEntry(self.ids, self._clock)
        self.sockets = PushSockets(
            self.mesh,
            self.queues,
            settings.max_push_bytes,
            settings.api_body_bytes,
            settings.outbox_bytes,
            settings.api_keepalive_s,
        )
        service = PushService(self.mesh, self.sockets, settings.max_push_bytes, self.nodes, self._metrics)
        self.api = ApiPort("push API", settings, service, settings.api_listen, "gateway.api_listen")
        self.server = self.api.server
        try:
            await self._listen()
            await self._join()
        except BaseException:
            await self.close()
            raise

    async def _listen(self) -> None:
        settings = self._settings
        await self.api.open()
        self.api_address = self.api.address
        self._center = await open_center(settings, lambda: self._endpoint, self._counts)
        for api in self._apis():
            self._certificates.hold(api.tls, settings.api_certificate, settings.api_key)
        self._opener = Ports(self.realm, self.ids, settings, self.queues, self._certificates)
        self.ports = self._opener.all
        await self._opener.open(self.links.accept)
        self.clients_address, self.link_address = self.ports[0].address, self._opener.link_address

    def _apis(self) -> list[ApiPort]:
        return [self.api] if self._center is None else [self.api, self._center.port]

    @property
    def center_address(self) -> tuple[str, int] | None:
        """Where the center API listens; None when it does not."""
        return None if self._center is None else self._center.port.address

    def reconfigure(self, settings: GatewaySettings) -> None:
        """Go by these settings, which differ in such as may change while running (``live``)."""
        self._settings = settings
        for api in self._apis():
            api.reconfigure(settings)
        self.sockets.reconfigure(settings.api_body_bytes, settings.api_keepalive_s)
        self.sockets.check_access(self.api.access)
        self._opener.reconfigure(settings)

    def certificate_files(self) -> list[str]:
        """Certificates and keys that are in use, to be looked at."""
        return self._certificates.files()

    def renew_certificates(self) -> None:
        """Use what these files hold now, for new connections."""
        self._certificates.renew()

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        self.queue_mesh.tick()
        self.mesh.durations.budget.refill()
        if self.queues.durable is not None:
            self.queues.durable.tick()
        self.outbox.watch(asyncio.get_running_loop().time())

    @property
    def number(self) -> int:
        """The node's number now, −1 while it has none."""
        return self._endpoint.number if self._endpoint is not None else -1

    async def _join(self) -> None:
        self.announced = announcement(self._settings.api_address, self.api_address, self._bus.local_host())
        info = {
            "version": __version__,
            **self.announced,
            "clients": join_address(*self.clients_address),
        }
        self._endpoint = await self._bus.open("node", self, info=info, lease_number=True)
        self.ids.attach(self._endpoint)
        self.mesh.attach(self._endpoint)
        self.queue_mesh.attach(self._endpoint)
        self._tick()
        self.links.attach(self._endpoint)

    async def close(self) -> None:
        """Stop: no new connections, tell clients to reconnect (spread over ``drain_s``), finish answers, leave the bus."""
        if self.closing or not self._built:
            return
        self.closing = True
        for api in self._apis():
            api.stop_listening()
        for port in self.ports:
            port.stop_listening()
        durable = self.queues.durable
        if durable is not None:
            durable.drain()
        await self._drain()
        await _settled(lambda: not any(port.clients for port in self.ports) and not len(self.links), ANSWER_S)
        for port in self.ports:
            port.abort_all()
        # Consumers go last: what entries push when their clients leave is for them too.
        await _settled(lambda: not any(port.busy for port in self.ports) and not self.queues.moving, FINISH_S)
        self.sockets.close()
        for api in self._apis():
            api.close()
        await _settled(lambda: not self.server.protocols, ANSWER_S)
        for port in self.ports:
            await port.close_entry()
        for api in self._apis():
            api.abort_all()
        self.links.close()
        self.queue_mesh.attach(None)
        if self._timer is not None:
            self._timer.cancel()
        if durable is not None:
            await durable.close()
        if left := self.queues.discard():
            log.warning("messages still waited in topics; they are gone", extra={"messages": left})
        self.mesh.close()
        self.loop_lag.stop()
        if self._endpoint is not None:
            self.ids.attach(None)
            await self._endpoint.close()
            self._endpoint = None

    async def _drain(self) -> None:
        """Close clients and links, some every 20 ms when it is to be spread."""
        going: list[Callable[[], None]] = [
            partial(connection.close, DRAINING.code, DRAINING.reason)
            for connection in list(self.realm.connections.values())
        ]
        going += self.links.closers(DRAINING)
        steps = max(1, round(self._settings.drain_s / 0.02))
        size = max(1, -(-len(going) // steps))
        for start in range(0, len(going), size):
            for close in going[start : start + size]:
                close()
            if start + size < len(going):
                await asyncio.sleep(0.02)

    def _on_slow(self, connection: Connection) -> None:
        connection.close(SLOW.code, SLOW.reason)

    def _on_stalled(self, connection: Connection) -> None:
        connection.close(STALLED.code, STALLED.reason)

    # -- the bus (towline.bus.base.Receiver)

    def on_message(self, sender: str, payload: bytes) -> None:
        if is_mesh(payload):
            self.mesh.on_message(sender, payload)
        else:
            self.links.on_message(sender, payload)

    def on_call(self, sender: str, payload: bytes) -> bytes | Awaitable[bytes]:
        if payload == COUNTS_CALL:
            return msgspec.json.encode(self._counts())
        return self._inspector.answer(payload)

    def on_event(self, sender: str, payload: bytes) -> None:
        """Not subscribed to."""

    def on_joined(self, member: Member) -> None:
        self._members_changed(member, left=False)

    def on_left(self, member: Member, cause: Literal["closed", "silent"]) -> None:
        self._members_changed(member, left=True)

    def _members_changed(self, member: Member, left: bool) -> None:
        if member.kind == "node":
            self.mesh.members_changed(member if left else None)
            if left:
                self.queue_mesh.left(member.address)
            else:
                self.queue_mesh.joined(member.address)
        elif member.kind == "hub":
            self.links.hubs_changed()

    # -- what doors ask

    def nodes(self, reached_at: str = "") -> list[dict[str, Any]]:
        """``/v1/nodes``, for who reached this node at this address."""
        return listed_nodes(self._endpoint, reached_at)

    def _counts(self) -> Counts:
        return Counts(len(self.realm.connections), len(self.channels))

    async def _metrics(self) -> bytes:
        return await asyncio.to_thread(metrics.render, figures(self))

    def bus_counters(self) -> dict[str, int]:
        """What the node's endpoint counts."""
        return self._endpoint.counters() if self._endpoint is not None else {}


async def _settled(condition: Callable[[], bool], timeout: float) -> None:
    end = asyncio.get_running_loop().time() + timeout
    while not condition() and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0.01)
