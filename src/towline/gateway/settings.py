# SPDX-License-Identifier: Apache-2.0
"""What can be set about a gateway node. Times are seconds, sizes are bytes; addresses are ``host:port``, ``[::1]:port``."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from towline.gateway.addresses import check_pattern, split_address
from towline.gateway.backlog import Policy
from towline.gateway.queuesettings import QueueSettings
from towline.gateway.rates import RatePolicy

Address = Annotated[str, Meta(min_length=3)]


class UserSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Someone who may use the push API."""

    username: Annotated[str, Meta(description="Name for HTTP Basic", min_length=1)]
    password: Annotated[str, Meta(description="Password for HTTP Basic", min_length=1, extra={"secret": True})]
    roles: Annotated[
        tuple[Literal["read", "write"], ...],
        Meta(description="`read`: versions, nodes, metrics, opening `/ws/v1`; `write`: everything that acts"),
    ] = ("read", "write")
    host: Annotated[
        str, Meta(description="Where this user may come from: `*`, or IPv4 with `*` parts such as `172.16.*.*`")
    ] = "*"

    def __post_init__(self) -> None:
        _check("host", check_pattern, self.host)
        if ":" in self.username:
            raise ValueError("username: a colon ends the name in HTTP Basic, so no name has one")


class OptionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value for a listener's script."""

    name: Annotated[str, Meta(description="What the script asks for", min_length=1)]
    value: Annotated[str, Meta(description="What it gets")] = ""


class RedisSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Redis server for scripts."""

    name: Annotated[str, Meta(description="What scripts call it", min_length=1)] = "default"
    addr: Annotated[str, Meta(description="Address of the server, `host:port`")] = "localhost:6379"
    password: Annotated[str, Meta(description="Its password; empty: none", extra={"secret": True})] = ""
    db: Annotated[int, Meta(description="Number of the database", ge=0)] = 0
    pool_size: Annotated[int, Meta(description="Connections at most; further commands wait", ge=1, le=1000)] = 20

    def __post_init__(self) -> None:
        host, _, port = self.addr.rpartition(":")
        if not host or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
            raise ValueError(f"addr: {self.addr!r} is not host:port with a port of 1 to 65535")


Protocol = Literal["websocket", "socket"]
"""What clients of a port speak: ``socket`` is raw TCP, whose entry cuts bytes into messages."""

MessageBytes = Annotated[int, Meta(ge=125, le=16 * 1024 * 1024)]
SendBuffer = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
NEW = {"live": "new"}
Count = Annotated[int, Meta(ge=0)]
NotNegative = Annotated[float, Meta(ge=0)]
OutboxBytes = Annotated[int, Meta(ge=65536)]


class ListenerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One more port for clients, with its own entry. What is null is as the first port has it."""

    listen: Annotated[Address, Meta(description="Address of the port")]
    protocol: Annotated[Protocol, Meta(description="As `gateway.protocol`")] = "websocket"
    path: Annotated[str, Meta(description="Path that clients connect to", pattern="^/[^?# ]*$")] = "/"
    entry: Annotated[
        str, Meta(description="Python or Lua file that handles this listener's connections, or a built-in")
    ] = ""
    trusted: Annotated[bool, Meta(description="As `trusted` of the first port")] = False
    reload_s: Annotated[float, Meta(description="As `reload_s` of the first port", ge=0)] = 10.0
    options: Annotated[tuple[OptionSettings, ...], Meta(description="As `options` of the first port")] = ()
    tls: Annotated[
        bool | None,
        Meta(
            description="Whether this port speaks TLS, with its own certificate or the first port's; null: as that one"
        ),
    ] = None
    certificate: Annotated[str | None, Meta(description="Own certificate chain of this port; needs `key`")] = None
    key: Annotated[str | None, Meta(description="Private key of this port's own `certificate`")] = None
    max_message_bytes: Annotated[MessageBytes | None, Meta(description="As `gateway.max_message_bytes`")] = None
    send_buffer_bytes: Annotated[SendBuffer | None, Meta(description="As `gateway.send_buffer_bytes`", extra=NEW)] = (
        None
    )
    read_timeout_s: Annotated[Seconds | None, Meta(description="As `gateway.read_timeout_s`", extra=NEW)] = None
    handshake_timeout_s: Annotated[Seconds | None, Meta(description="As `gateway.handshake_timeout_s`")] = None
    write_timeout_s: Annotated[Seconds | None, Meta(description="As `gateway.write_timeout_s`", extra=NEW)] = None
    outbox_bytes: Annotated[OutboxBytes | None, Meta(description="As `gateway.outbox_bytes`")] = None
    outbox_policy: Annotated[Policy | None, Meta(description="As `gateway.outbox_policy`")] = None
    max_connections: Annotated[Count | None, Meta(description="As `gateway.max_connections`")] = None
    max_per_address: Annotated[Count | None, Meta(description="As `gateway.max_per_address`")] = None
    ping_s: Annotated[NotNegative | None, Meta(description="As `gateway.ping_s`")] = None
    messages_per_s: Annotated[NotNegative | None, Meta(description="As `gateway.messages_per_s`")] = None
    burst: Annotated[Count | None, Meta(description="As `gateway.burst`")] = None
    bytes_per_s: Annotated[Count | None, Meta(description="As `gateway.bytes_per_s`")] = None
    rate_policy: Annotated[RatePolicy | None, Meta(description="As `gateway.rate_policy`")] = None

    def __post_init__(self) -> None:
        _check("listen", split_address, self.listen)


class SummarySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The window of ``connmix_engine_servers_send_duration_seconds`` in ``/metrics``."""

    age_s: Annotated[float, Meta(description="How far back the quantiles look", gt=0)] = 600.0
    buckets: Annotated[int, Meta(description="Parts of the window; the oldest is dropped as a whole", ge=1, le=100)] = 5
    samples: Annotated[
        int, Meta(description="Durations kept in each part, drawn at random where there are more", ge=1, le=10_000)
    ] = 500


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the section ``gateway``."""

    api_listen: Annotated[Address, Meta(description="Address of the push API for back ends")] = "127.0.0.1:6789"
    api_address: Annotated[
        str,
        Meta(
            description="Address (`host:port`) by which back ends reach this node's push API, as `/v1/nodes` tells it; empty: "
            "where it listens, and for 0.0.0.0 or [::] this machine's address"
        ),
    ] = ""
    center_listen: Annotated[
        str | None,
        Meta(
            description="Address of the center API (`/version`, `/v1/nodes`, `/metrics` of the whole mesh), which connmix's "
            "clients ask for nodes; null: port 6787 beside the push API when it is free; empty: not served"
        ),
    ] = None
    clients_listen: Annotated[
        Address, Meta(description="Address of the first port for clients; agents connect there too, on `/link/v1`")
    ] = "127.0.0.1:6790"
    link_listen: Annotated[
        str, Meta(description="Address of an own port for agents; empty: they share the first clients' port")
    ] = ""
    certificate: Annotated[
        str | None, Meta(description="PEM file with the certificate chain for clients and agents; needs `key`")
    ] = None
    key: Annotated[str | None, Meta(description="PEM file with the private key of `certificate`")] = None
    api_certificate: Annotated[
        str | None, Meta(description="PEM file with the certificate chain for push and center API; needs `api_key`")
    ] = None
    api_key: Annotated[str | None, Meta(description="PEM file with the private key of `api_certificate`")] = None
    behind_proxy: Annotated[
        bool, Meta(description="TLS ends at a proxy in front; allows agents' links without it off loopback")
    ] = False
    protocol: Annotated[
        Protocol,
        Meta(
            description="What clients of the first port speak: `websocket`, or `socket` for raw TCP, whose entry cuts bytes "
            "into messages; agents then need `link_listen`"
        ),
    ] = "websocket"
    path: Annotated[str, Meta(description="Path that clients connect to on the first port", pattern="^/[^?# ]*$")] = "/"
    entry: Annotated[
        str,
        Meta(
            description="What handles clients of the first port: a Python or Lua file, or a built-in: `builtin:echo`, "
            "`builtin:forward:TOPIC` (every message waits in that topic for back ends), on raw TCP `builtin:lines:TOPIC` too; "
            "empty: no clients, agents only"
        ),
    ] = ""
    trusted: Annotated[
        bool,
        Meta(description="The Lua script of the first port is compiled: faster, but an endless loop stops the node"),
    ] = False
    reload_s: Annotated[
        float, Meta(description="A changed script of the first port runs within this time; 0: never", ge=0)
    ] = 10.0
    options: Annotated[
        tuple[OptionSettings, ...], Meta(description="What `mix.server.option` gives the Lua script of the first port")
    ] = ()
    lua_callback_ms: Annotated[
        int, Meta(description="How long a callback of a Lua script may run, in milliseconds, without its waiting", ge=1)
    ] = 100
    lua_memory_bytes: Annotated[
        int, Meta(description="Memory for one Lua script", ge=4 * 1024 * 1024, le=2 * 1024 * 1024 * 1024)
    ] = 64 * 1024 * 1024
    redis: Annotated[tuple[RedisSettings, ...], Meta(description="Redis servers that Lua scripts may use")] = ()
    listeners: Annotated[tuple[ListenerSettings, ...], Meta(description="Further ports for clients")] = ()
    users: Annotated[
        tuple[UserSettings, ...],
        Meta(description="Who may use the push API; empty: everybody who can reach it", extra={"live": True}),
    ] = ()
    hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="Names by which an open push API may be called in the Host header, besides IP addresses, "
            "`localhost` and the name in `api_listen`",
            extra={"live": True},
        ),
    ] = ()
    origins: Annotated[
        tuple[str, ...],
        Meta(
            description="Web origins such as `https://app.example` whose pages may call the push API from a browser",
            extra={"live": True},
        ),
    ] = ()
    max_message_bytes: Annotated[
        MessageBytes, Meta(description="Longest message from a client; a raw packet may have 1024 bytes more around it")
    ] = 64 * 1024
    max_push_bytes: Annotated[
        int, Meta(description="Longest data of one send or publish; what a bus message can carry", ge=1, le=250_000)
    ] = 240 * 1024
    outbox_bytes: Annotated[
        OutboxBytes, Meta(description="What may wait for one client in this process; then `outbox_policy` decides")
    ] = 1024 * 1024
    outbox_policy: Annotated[
        Policy,
        Meta(
            description="When a frame finds no room: `disconnect` the client, `drop_newest` (the frame counts as failed) "
            "or `drop_oldest` (what waits longest goes)"
        ),
    ] = "disconnect"
    send_buffer_bytes: Annotated[
        SendBuffer,
        Meta(description="The kernel's send buffer for one client (SO_SNDBUF); 0 leaves it to the system", extra=NEW),
    ] = 256 * 1024
    read_timeout_s: Annotated[
        Seconds,
        Meta(description="A client that sends nothing, not even a ping, for this long is disconnected", extra=NEW),
    ] = 60.0
    max_connections: Annotated[
        Count, Meta(description="Clients of one port at once, agents aside; more are answered 503. 0: no limit")
    ] = 100_000
    max_per_address: Annotated[
        Count,
        Meta(
            description="Clients of one port at once from one IP address (IPv6: one /64 network); more are answered 429. "
            "0: no limit"
        ),
    ] = 0
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses and networks of proxies whose `X-Forwarded-For` and `X-Real-IP` say the client's "
            "address, for `max_per_address`; from others these headers mean nothing"
        ),
    ] = ()
    ping_s: Annotated[
        NotNegative,
        Meta(
            description="A client that sent nothing for this long is pinged; the answer counts for `read_timeout_s`. "
            "0: never"
        ),
    ] = 0.0
    messages_per_s: Annotated[
        NotNegative, Meta(description="Messages a second from one client, averaged; `rate_policy` decides. 0: no limit")
    ] = 0.0
    burst: Annotated[
        Count, Meta(description="Messages at once from one client before `messages_per_s` counts; 0: those of a second")
    ] = 0
    bytes_per_s: Annotated[
        Count, Meta(description="Bytes of messages a second from one client, averaged, a second's at once; 0: no limit")
    ] = 0
    rate_policy: Annotated[
        RatePolicy,
        Meta(description="A client over its rate has to wait (`pause`: nothing is lost) or is closed (`close`)"),
    ] = "pause"
    write_timeout_s: Annotated[
        Seconds,
        Meta(
            description="A client whose socket takes nothing for this long, while something waits, is closed", extra=NEW
        ),
    ] = 10.0
    handshake_timeout_s: Annotated[Seconds, Meta(description="Time for a client to finish its upgrade")] = 5.0
    api_header_bytes: Annotated[
        int, Meta(description="Longest head of a request to the push API", ge=1024, extra=NEW)
    ] = 16 * 1024
    api_body_bytes: Annotated[
        int, Meta(description="Longest body of a request to the push API", ge=1024, extra=NEW)
    ] = 512 * 1024
    api_request_s: Annotated[
        float,
        Meta(description="Time for a whole request to the push API to arrive, from its first byte", gt=0, extra=NEW),
    ] = 10.0
    api_keepalive_s: Annotated[
        float,
        Meta(
            description="An idle connection to the push API, and a silent `/ws/v1`, is closed after this",
            gt=0,
            extra=NEW,
        ),
    ] = 60.0
    api_connections: Annotated[int, Meta(description="Connections to the push API at once", ge=1, extra=NEW)] = 4096
    answer_s: Annotated[
        float, Meta(description="How long a send or publish waits for the counts of another node", gt=0, le=60)
    ] = 1.0
    queue: Annotated[QueueSettings, Meta(description="Topics that clients' messages wait in")] = QueueSettings()
    summary: Annotated[SummarySettings, Meta(description="Window of durations in `/metrics`")] = SummarySettings()
    drain_s: Annotated[
        float,
        Meta(
            description="A node that closes tells its clients over this many seconds, at least 50 a second",
            ge=0,
            le=300,
        ),
    ] = 0.0

    def __post_init__(self) -> None:
        for name in ("api_listen", "clients_listen", "api_address", "center_listen", "link_listen"):
            if address := getattr(self, name):
                _check(name, split_address, address)
        self._check_distinct()
        names: dict[str, int] = {}
        for number, server in enumerate(self.redis):
            if (before := names.setdefault(server.name, number)) != number:
                raise ValueError(f"redis[{number}].name: {server.name!r} is the name of gateway.redis[{before}] too")
        for network in self.trusted_proxies:
            _check("trusted_proxies", partial(ipaddress.ip_network, strict=False), network)

    def _check_distinct(self) -> None:
        names = ("api_listen", "clients_listen", "center_listen", "link_listen")
        told = [(name, getattr(self, name)) for name in names]
        told += [(f"listeners[{number}].listen", one.listen) for number, one in enumerate(self.listeners)]
        seen: dict[tuple[str, int], str] = {}
        for name, address in told:
            parts = split_address(address) if address else ("", 0)
            if parts[1] and (before := seen.setdefault(parts, name)) is not name:
                raise ValueError(f"{name}: {address} is the address of gateway.{before} too")


def _check(field: str, check: Callable[[str], object], value: str) -> None:
    """ValueError that begins with the field, which is how the loader finds its place."""
    try:
        check(value)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None
