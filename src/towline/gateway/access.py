# SPDX-License-Identifier: Apache-2.0
"""Who may use the push API: users and roles (spec connmix §2), and the Host and Origin rules of an open one (design §6)."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Mapping
from typing import Literal, NamedTuple
from urllib.parse import parse_qs

from towline.gateway.addresses import split_address
from towline.gateway.settings import UserSettings

Role = Literal["read", "write"]


class Grant(NamedTuple):
    """What a request may do."""

    roles: frozenset[str]


class Denied(NamedTuple):
    """A request is refused with this HTTP status. ``code`` is stable, ``message`` says why."""

    status: int
    code: str
    message: str


_ALL = Grant(frozenset({"read", "write"}))


class Access:
    """Decides on requests to the push API.

    With users, HTTP Basic (or ``username`` and ``password`` in the query of the upgrade) decides. Without, the API is open
    to whoever reaches it; then a request must call it by an IP address or a known name, and one that comes from a web
    page must come from a listed origin: a page of a stranger must not use a browser inside the network as its hands.
    """

    def __init__(
        self, users: tuple[UserSettings, ...], hosts: tuple[str, ...], origins: tuple[str, ...], listen: str
    ) -> None:
        self._listen = listen
        self.known_hosts: dict[bytes, Grant] = {}
        """Host headers that an open API answered to: requests without an origin need no more than a look here."""
        self.replace(users, hosts, origins)

    def replace(self, users: tuple[UserSettings, ...], hosts: tuple[str, ...], origins: tuple[str, ...]) -> None:
        """Decide by these from the next request on."""
        self._users = users
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._hosts = frozenset(host.lower() for host in (*hosts, "localhost", split_address(self._listen)[0]))
        self.known_hosts.clear()

    @property
    def open(self) -> bool:
        """Whether everybody who reaches the port may do everything."""
        return not self._users

    def origin_allowed(self, origin: str) -> bool:
        """Whether pages of ``origin`` may call. With users and no list, their credentials decide alone."""
        return origin.rstrip("/").lower() in self._origins or bool(self._users and not self._origins)

    def check(
        self, headers: Mapping[bytes, bytes], query: str, remote_ip: str, method: bytes = b"GET"
    ) -> Grant | Denied:
        """Decide on one request. ``headers`` has lower-case names; ``query`` is that of an upgrade, else empty."""
        host, origin = _text(headers, b"host"), _text(headers, b"origin")
        if not self._users:
            found = self._check_open(host, origin)
            if isinstance(found, Grant) and not origin and len(self.known_hosts) < 1000:
                self.known_hosts[headers.get(b"host", b"")] = found
            return found
        if origin and not self.origin_allowed(origin):
            return Denied(403, "http.origin", f"the origin {origin[:80]!r} is not in gateway.origins")
        if origin and method == b"OPTIONS":
            # A browser's question before a request carries no credentials, and its answer nothing.
            return Grant(frozenset())
        return self._check_user(_text(headers, b"authorization"), query, remote_ip)

    def _check_open(self, host: str, origin: str) -> Grant | Denied:
        if not self._host_allowed(host):
            return Denied(403, "http.host", f"the Host {host[:80]!r} is not one of this API's; add it to gateway.hosts")
        if origin and not self.origin_allowed(origin):
            return Denied(403, "http.origin", f"the origin {origin[:80]!r} is not in gateway.origins")
        return _ALL

    def _host_allowed(self, host: str) -> bool:
        if not host:  # not a browser, which is what the rule is about: they always say it
            return True
        name = host.strip().lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        elif name.count(":") == 1:
            name = name.partition(":")[0]
        if name in self._hosts:
            return True
        # An address cannot be rebound by a stranger's DNS.
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _check_user(self, authorization: str, query: str, remote_ip: str) -> Grant | Denied:
        credentials = _basic(authorization) or _from_query(query)
        if credentials is None:
            return Denied(401, "http.unauthorized", "a user name and password are needed (HTTP Basic)")
        name, password = credentials
        matched = False
        for user in self._users:
            same = hmac.compare_digest(user.username.encode(), name.encode())
            if hmac.compare_digest(user.password.encode(), password.encode()) and same:
                matched = True
                if host_matches(user.host, remote_ip):
                    return Grant(frozenset(user.roles))
        if matched:
            return Denied(403, "http.forbidden_host", f"this user may not come from {remote_ip}")
        return Denied(401, "http.unauthorized", "user name or password is wrong")


def host_matches(pattern: str, remote_ip: str) -> bool:
    """``*`` is everybody; else IPv4 compared part by part, where ``*`` is any part; or one address exactly."""
    if pattern == "*":
        return True
    address = remote_ip.removeprefix("::ffff:")
    wanted, actual = pattern.split("."), address.split(".")
    if len(wanted) == len(actual) == 4:
        return all(one in ("*", other) for one, other in zip(wanted, actual, strict=True))
    return pattern == address


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")


def _basic(authorization: str) -> tuple[str, str] | None:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return (name, password) if colon else None


def _from_query(query: str) -> tuple[str, str] | None:
    if "username=" not in query:
        return None
    found = parse_qs(query, keep_blank_values=True, max_num_fields=50)
    return found["username"][0], found.get("password", [""])[0]
