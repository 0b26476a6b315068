# SPDX-License-Identifier: Apache-2.0
"""The client ports of a node: made from settings, opened with their entries and TLS, closed together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

from towline.errors import StartError
from towline.gateway.addresses import cannot_listen, is_loopback, split_address
from towline.gateway.admission import networks
from towline.gateway.connections import Realm
from towline.gateway.entries.load import load_entry, load_raw_entry
from towline.gateway.entries.options import ScriptOptions
from towline.gateway.listener import ClientPort, Route
from towline.gateway.portsettings import PortSettings, first_port, further_ports, link_port
from towline.gateway.queues import Queues
from towline.gateway.rawport import RawPort
from towline.gateway.settings import GatewaySettings
from towline.gateway.snowflake import Snowflakes
from towline.gateway.tls import Certificates, tls_context
from towline.protocols.link.limits import LINK_PATH

E = TypeVar("E")

log = logging.getLogger("towline.gateway")


class Ports:
    """All client ports of one node; the first one is that of ``gateway.clients_listen``."""

    def __init__(
        self, realm: Realm, ids: Snowflakes, settings: GatewaySettings, queues: Queues, certificates: Certificates
    ) -> None:
        self._certificates = certificates
        self._realm = realm
        self._ids = ids
        self._settings = settings
        self._queues = queues
        self.all: list[ClientPort] = []
        self.link_address: tuple[str, int] = ("", 0)

    async def open(self, link: Route) -> None:
        """Open them all. StartError names the setting that an address, an entry or a certificate stands in.

        :param link: takes agents' links: on the first port, or on one of its own
        """
        settings = self._settings
        first = first_port(settings)
        links = {LINK_PATH: link}
        own = link_port(settings) if settings.link_listen else None
        shared = own is None and self._link_allowed(first, bool(first.entry))
        await self._open(first, links if shared else {})
        if first.protocol != "socket":
            self.link_address = self.all[0].address
        if own is not None and self._link_allowed(own, False):
            await self._open(own, links)
            self.link_address = self.all[-1].address
        for further in further_ports(settings):
            await self._open(further, {})

    async def _open(self, settings: PortSettings, routes: Mapping[str, Route]) -> None:
        tls = tls_context(settings)
        self._certificates.hold(tls, settings.certificate, settings.key)
        port: ClientPort
        place, options = len(self.all), self._options(settings)
        trusted = networks(self._settings.trusted_proxies, "gateway.trusted_proxies")
        where = f"{settings.where}.entry"
        if settings.protocol == "socket":
            raw = _load(load_raw_entry, settings.entry, where, options)
            port = RawPort(self._realm, self._ids, settings, raw, place)
        else:
            entry = _load(load_entry, settings.entry, where, options) if settings.entry else None
            port = ClientPort(
                self._realm, self._ids, settings, entry=entry, routes=routes, number=place, trusted=trusted
            )
        self.all.append(port)
        host, number = split_address(settings.listen)
        try:
            await port.start(host, number, tls)
        except OSError as error:
            raise cannot_listen(error, settings.listen, settings.address_key) from None

    def reconfigure(self, settings: GatewaySettings) -> None:
        """Go by these settings as far as they may change while running."""
        new = {port.address_key: port for port in (first_port(settings), link_port(settings), *further_ports(settings))}
        for port in self.all:
            port.reconfigure(new[port.settings.address_key])

    def _options(self, settings: PortSettings) -> ScriptOptions:
        shared = self._settings
        return ScriptOptions(
            trusted=settings.trusted,
            reload_s=settings.reload_s,
            callback_ms=shared.lua_callback_ms,
            memory_bytes=shared.lua_memory_bytes,
            options=_path(settings) | {option.name: option.value for option in settings.options},
            redis=shared.redis,
            queue=self._queues,
        )

    def _link_allowed(self, port: PortSettings, has_clients: bool) -> bool:
        """Agents' links off loopback need TLS. A port that has clients too opens without the link, and says so."""
        if port.protocol == "socket":
            log.warning("agents cannot connect here: give gateway.link_listen", extra={"listen": port.listen})
            return False
        host, _ = split_address(port.listen)
        if port.certificate or self._settings.behind_proxy or is_loopback(host):
            return True
        if has_clients:
            log.warning("agents cannot connect here: their link needs TLS", extra={"listen": port.listen})
            return False
        raise StartError(
            "gateway.tls_needed",
            f"refusing to serve agents' links without TLS on {port.listen}",
            where=port.address_key,
            hint="give gateway.certificate and gateway.key, or --behind-proxy when TLS ends in front of Towline",
        )


def _load(load: Callable[[str, str, ScriptOptions], E], setting: str, where: str, options: ScriptOptions) -> E:
    """An entry; what is wrong inside its script is told with the setting that names it, too."""
    try:
        return load(setting, where, options)
    except StartError as error:
        if error.where == where:
            raise
        raise StartError(error.code, str(error), where=where) from error


def _path(settings: PortSettings) -> dict[str, str]:
    """``mix.server.option("path")``: always there for WebSocket, on a raw port only when it was set."""
    return {} if settings.protocol == "socket" and settings.path == "/" else {"path": settings.path}
