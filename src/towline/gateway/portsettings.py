# SPDX-License-Identifier: Apache-2.0
"""What one client port goes by, with everything filled in: the first port's from the section itself, a further
listener's from its item of the list and, where that is silent, from the first port."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from towline.errors import StartError
from towline.gateway.backlog import Bounds, Policy
from towline.gateway.rates import RatePolicy
from towline.gateway.settings import GatewaySettings, ListenerSettings, OptionSettings, Protocol

INHERITED = (
    "max_message_bytes", "send_buffer_bytes", "read_timeout_s", "handshake_timeout_s",
    "outbox_bytes", "outbox_policy", "write_timeout_s", "max_connections", "max_per_address", "ping_s",
    "messages_per_s", "burst", "bytes_per_s", "rate_policy",
)  # fmt: skip
"""A listener that leaves one of these null has the first port's."""


class PortSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One port. ``where`` is its place in the settings, for messages; ``address_key`` the setting that holds ``listen``."""

    where: str
    address_key: str
    listen: str
    protocol: Protocol
    path: str
    entry: str
    trusted: bool
    reload_s: float
    options: tuple[OptionSettings, ...]
    certificate: str | None
    key: str | None
    max_message_bytes: int
    send_buffer_bytes: int
    read_timeout_s: float
    handshake_timeout_s: float
    outbox_bytes: int
    outbox_policy: Policy
    write_timeout_s: float
    max_connections: int
    max_per_address: int
    ping_s: float
    messages_per_s: float
    burst: int
    bytes_per_s: int
    rate_policy: RatePolicy


def bounds_of(settings: PortSettings) -> Bounds:
    """How far behind a connection of this port may be."""
    return Bounds(settings.outbox_bytes, settings.outbox_policy, settings.write_timeout_s)


def first_port(settings: GatewaySettings) -> PortSettings:
    """The port at ``gateway.clients_listen``."""
    return PortSettings(
        where="gateway",
        address_key="gateway.clients_listen",
        listen=settings.clients_listen,
        protocol=settings.protocol,
        path=settings.path,
        entry=settings.entry,
        trusted=settings.trusted,
        reload_s=settings.reload_s,
        options=settings.options,
        certificate=settings.certificate,
        key=settings.key,
        **{name: getattr(settings, name) for name in INHERITED},
    )


def link_port(settings: GatewaySettings) -> PortSettings:
    """The port at ``gateway.link_listen``, for agents only."""
    first = first_port(settings)
    own = {"address_key": "gateway.link_listen", "listen": settings.link_listen, "protocol": "websocket", "entry": ""}
    return msgspec.structs.replace(first, **own)


def further_ports(settings: GatewaySettings) -> Iterator[PortSettings]:
    """The ports of ``gateway.listeners``."""
    first = first_port(settings)
    for number, listener in enumerate(settings.listeners):
        where = f"gateway.listeners[{number}]"
        certificate, key = _certificate(first, listener, where)
        given = {name: getattr(listener, name) for name in INHERITED}
        yield PortSettings(
            where=where,
            address_key=f"{where}.listen",
            listen=listener.listen,
            protocol=listener.protocol,
            path=listener.path,
            entry=listener.entry,
            trusted=listener.trusted,
            reload_s=listener.reload_s,
            options=listener.options,
            certificate=certificate,
            key=key,
            **{name: getattr(first, name) if value is None else value for name, value in given.items()},
        )


def _certificate(first: PortSettings, listener: ListenerSettings, where: str) -> tuple[str | None, str | None]:
    if listener.tls is False:
        return None, None
    if listener.certificate or listener.key:
        return listener.certificate, listener.key
    if listener.tls and not first.certificate:
        raise StartError("gateway.tls_incomplete", "TLS needs a certificate and its key", where=f"{where}.tls")
    return first.certificate, first.key
