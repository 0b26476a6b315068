# SPDX-License-Identifier: Apache-2.0
"""The center API (spec connmix §1): versions, the list of nodes, and figures of the whole mesh, on a port of its own.

Every node can serve it, because every node knows the others; connmix's clients ask it which nodes there are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec

from towline.bus.base import Bus, BusCallError, BusTimeout, BusUnreachable, Endpoint, Member
from towline.errors import InvalidInput, StartError
from towline.gateway import metrics
from towline.gateway.addresses import join_address, split_address
from towline.gateway.announce import listed_nodes
from towline.gateway.apiport import ApiPort
from towline.gateway.routes import RoutedService
from towline.gateway.settings import GatewaySettings
from towline.gateway.tls import Certificates

log = logging.getLogger("towline.gateway")

DEFAULT_PORT = 6787

COUNTS_CALL = b"\x01counts"
"""A bus call with this payload is answered with :class:`Counts` as JSON."""

ANSWER_S = 1.0


class Counts(NamedTuple):
    """What one node holds."""

    clients: int
    channels: int


def center_address(settings: GatewaySettings) -> tuple[str, bool]:
    """Where the center API listens, and whether that was asked for; empty: not at all."""
    if settings.center_listen is not None:
        return settings.center_listen, True
    host, port = split_address(settings.api_listen)
    # A push API on a port of the system's choice is not one that clients look for.
    return (join_address(host, DEFAULT_PORT) if port else ""), False


class CenterApi:
    """The port. ``endpoint`` is the member that asks: None before it is on the bus.

    :param own: what this node holds, if it is one
    """

    def __init__(
        self,
        settings: GatewaySettings,
        listen: str,
        endpoint: Callable[[], Endpoint | None],
        own: Callable[[], Counts] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._own = own
        service = RoutedService(lambda reached_at: listed_nodes(endpoint(), reached_at), self._metrics)
        self.port = ApiPort("center API", settings, service, listen, "gateway.center_listen")

    async def _metrics(self) -> bytes:
        counts = await self._counts()
        value = metrics.Value
        shown = [
            value("connmix_center_registry_engine_nodes", "Nodes of the mesh", len(counts)),
            value("connmix_center_registry_clients", "Clients of all nodes", sum(one.clients for one in counts)),
            # A gauge by nature; the original calls it a counter, and dashboards do.
            value(
                "connmix_center_registry_channels_total",
                "Channels with a subscriber, counted on each node",
                sum(one.channels for one in counts),
            ),
        ]
        return await asyncio.to_thread(metrics.render, shown)

    async def _counts(self) -> list[Counts]:
        """Of every node that answers in time; a silent one counts with nothing in it."""
        endpoint = self._endpoint()
        if endpoint is None:
            return []
        return await asyncio.gather(*(self._ask(endpoint, member) for member in endpoint.members("node")))

    async def _ask(self, endpoint: Endpoint, member: Member) -> Counts:
        if self._own is not None and member.address == endpoint.address:
            return self._own()
        try:
            return msgspec.json.decode(await endpoint.call(member.address, COUNTS_CALL, ANSWER_S), type=Counts)
        except (BusTimeout, BusUnreachable, BusCallError, msgspec.DecodeError) as error:
            log.debug("a node did not tell its counts: %s", error)
            return Counts(0, 0)


async def open_center(
    settings: GatewaySettings, endpoint: Callable[[], Endpoint | None], own: Callable[[], Counts] | None = None
) -> CenterApi | None:
    """Open the center API of a node where the settings want it. A default port that somebody else has is left to them:
    several nodes on one machine are usual. StartError when a port that was asked for cannot be had."""
    listen, asked = center_address(settings)
    if not listen:
        return None
    center = CenterApi(settings, listen, endpoint, own)
    try:
        await center.port.open()
    except StartError as error:
        center.port.close()
        if asked or error.code != "port.taken":
            raise
        log.warning("the center API is not served here: its port is in use", extra={"listen": listen})
        return None
    return center


class Center:
    """A member of the bus that serves the center API and nothing else: no clients, no push API, no node number."""

    def __init__(self, bus: Bus, settings: GatewaySettings) -> None:
        self._bus = bus
        self._settings = settings
        self._endpoint: Endpoint | None = None
        self._certificates = Certificates()
        self.api: CenterApi | None = None

    async def start(self) -> None:
        """Join the bus and listen. StartError when either cannot be had."""
        settings = self._settings
        listen = center_address(settings)[0] or f"127.0.0.1:{DEFAULT_PORT}"
        self._endpoint = await self._bus.open("door", self)
        self.api = CenterApi(settings, listen, lambda: self._endpoint)
        await self.api.port.open()
        self._certificates.hold(self.api.port.tls, settings.api_certificate, settings.api_key)

    def reconfigure(self, settings: GatewaySettings) -> None:
        """Go by these settings, which differ in such as may change while running."""
        if self.api is not None:
            self.api.port.reconfigure(settings)

    def certificate_files(self) -> list[str]:
        """Certificates and keys that are in use, to be looked at."""
        return self._certificates.files()

    def renew_certificates(self) -> None:
        """Use what these files hold now, for new connections."""
        self._certificates.renew()

    async def close(self) -> None:
        """Answer what is under way and leave."""
        if self.api is not None:
            self.api.port.close()
            await asyncio.sleep(0)
            self.api.port.abort_all()
        if self._endpoint is not None:
            await self._endpoint.close()

    # -- the bus (towline.bus.base.Receiver)

    def on_message(self, sender: str, payload: bytes) -> None:
        """Nobody sends to a center."""

    def on_call(self, sender: str, payload: bytes) -> bytes:
        raise InvalidInput("gateway.call_unknown", "a center answers no calls")

    def on_event(self, sender: str, payload: bytes) -> None:
        """Not subscribed to."""

    def on_joined(self, member: Member) -> None:
        """The list is asked for when it is needed."""

    def on_left(self, member: Member, cause: Literal["closed", "silent"]) -> None:
        """The list is asked for when it is needed."""
