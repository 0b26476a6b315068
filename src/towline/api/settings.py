# SPDX-License-Identifier: Apache-2.0
"""Settings of the operators' doors: portal, REST and socket.io on one port."""

from __future__ import annotations

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from towline.errors import StartError

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
_LOOPBACK = ("127.0.0.1", "::1")


class DoorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where operators come in."""

    listen: Annotated[str, Meta(description="Address to bind.")] = "127.0.0.1"
    port: Annotated[int, Meta(description="TCP port; 0 lets the system choose.", ge=0, le=65535)] = 8080
    public_url: Annotated[
        str | None,
        Meta(description="How browsers reach this door, with any path prefix: https://example.org/towline."),
    ] = None
    behind_proxy: Annotated[bool, Meta(description="TLS ends at a proxy in front; allows plain HTTP off loopback.")] = (
        False
    )
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="Addresses or networks whose X-Forwarded-For and X-Forwarded-Proto are believed."),
    ] = ()
    certificate: Annotated[str | None, Meta(description="PEM file with the certificate chain; needs `key`.")] = None
    key: Annotated[str | None, Meta(description="PEM file with the private key of `certificate`.")] = None
    access_log: Annotated[bool, Meta(description="Log one line a request, without query strings.")] = False
    max_body_bytes: Annotated[int, Meta(description="Largest request body in bytes.", ge=1024)] = 1_048_576
    request_timeout_s: Annotated[
        float, Meta(description="Seconds a client has to send a request's head, and then its body.", ge=1)
    ] = 15.0
    max_connections: Annotated[int, Meta(description="Connections at a time; more are answered 503.", ge=1)] = 4096
    max_sockets: Annotated[int, Meta(description="Live (socket.io) connections at a time.", ge=1)] = 2000
    socket_outbox_bytes: Annotated[
        int,
        Meta(
            description="What may wait for one slow live connection; live data is left out from half of it on, "
            "and a connection over it is closed.",
            ge=65_536,
        ),
    ] = 8_388_608
    socket_requests: Annotated[
        int, Meta(description="Shell commands of one live connection in progress at a time.", ge=1)
    ] = 32
    socket_feeds: Annotated[
        int, Meta(description="Feeds, and watched devices, of one live connection.", ge=1, le=1024)
    ] = 64
    exec_timeout_s: Annotated[
        float, Meta(description="Seconds a shell command may take unless the request says otherwise.", ge=1)
    ] = 60.0

    def prefix(self) -> str:
        """The path part of ``public_url`` without a slash at its end; '' without one."""
        return urlsplit(self.public_url).path.rstrip("/") if self.public_url else ""

    def public_origin(self) -> str | None:
        """``scheme://host[:port]`` of ``public_url`` as a browser writes it in Origin."""
        if not self.public_url:
            return None
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}".lower()

    def proxies(self) -> tuple[IPNetwork, ...]:
        """Trusted networks; loopback when behind a proxy that is not named. StartError for a bad one."""
        listed = self.trusted_proxies or (_LOOPBACK if self.behind_proxy else ())
        try:
            return tuple(ipaddress.ip_network(each) for each in listed)
        except ValueError as error:
            raise StartError("portal.trusted_proxies", str(error), where="portal.trusted_proxies") from None

    def is_loopback(self) -> bool:
        """Whether ``listen`` reaches this machine only."""
        if self.listen == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.listen).is_loopback
        except ValueError:
            return False

    def check(self) -> None:
        """StartError when these settings would open an unprotected port or contradict each other."""
        if bool(self.certificate) != bool(self.key):
            raise StartError(
                "portal.tls_incomplete", "certificate and key are needed together", where="portal.certificate"
            )
        if not (self.is_loopback() or self.certificate or self.behind_proxy):
            raise StartError(
                "portal.tls_needed",
                f"refusing to serve the portal without TLS on {self.listen}",
                where="portal.listen",
                hint="give certificate and key, or --behind-proxy when TLS ends in front of Towline",
            )
        if self.public_url is not None:
            parts = urlsplit(self.public_url)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
                raise StartError(
                    "portal.public_url",
                    f"{self.public_url!r} is not an http(s) URL of host and path",
                    where="portal.public_url",
                )
        self.proxies()
