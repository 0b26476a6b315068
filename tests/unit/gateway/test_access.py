# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64

import pytest

from towline.gateway.access import Access, Denied, Grant, host_matches
from towline.gateway.settings import UserSettings

READER = UserSettings(username="console", password="look", roles=("read",))
WRITER = UserSettings(username="backend", password="secret", host="172.16.*.*")


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def open_api(hosts: tuple[str, ...] = (), origins: tuple[str, ...] = ()) -> Access:
    return Access((), hosts, origins, "gateway.example:6789")


def check(access: Access, host: str, origin: str, authorization: str, query: str, remote_ip: str) -> Grant | Denied:
    given = {b"host": host, b"origin": origin, b"authorization": authorization}
    return access.check({name: value.encode() for name, value in given.items() if value}, query, remote_ip)


def status(found: Grant | Denied) -> int:
    return found.status if isinstance(found, Denied) else 200


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:6789",
        "127.0.0.1:6789",
        "10.1.2.3",
        "[::1]:6789",
        "[::1]",
        "::1",
        "gateway.example:1",
        "",
    ],
)
def test_an_open_api_answers_to_addresses_and_its_names(host: str) -> None:
    assert status(check(open_api(), host, "", "", "", "127.0.0.1")) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:6789", "localhost.evil.example", "127.0.0.1.evil.example"]
)
def test_an_open_api_refuses_other_hosts(host: str) -> None:
    access = open_api()
    for _ in range(2):
        found = check(access, host, "", "", "", "127.0.0.1")
        assert isinstance(found, Denied)
        assert (found.status, found.code) == (403, "http.host")


def test_further_names_can_be_listed() -> None:
    assert status(check(open_api(("push.example",)), "Push.example:443", "", "", "", "::1")) == 200


def test_an_open_api_refuses_pages_of_strangers() -> None:
    assert status(check(open_api(), "localhost", "https://evil.example", "", "", "::1")) == 403
    assert status(check(open_api(), "localhost", "null", "", "", "::1")) == 403
    allowed = open_api(origins=("https://App.example/",))
    assert status(check(allowed, "localhost", "https://app.example", "", "", "::1")) == 200
    assert status(check(allowed, "localhost", "http://app.example", "", "", "::1")) == 403


def test_users() -> None:
    access = Access((READER, WRITER), (), (), "127.0.0.1:6789")
    assert status(check(access, "any.example", "", "", "", "127.0.0.1")) == 401
    assert status(check(access, "any.example", "", "Bearer x", "", "127.0.0.1")) == 401
    assert status(check(access, "any.example", "", "Basic ###", "", "127.0.0.1")) == 401
    assert status(check(access, "any.example", "", basic("console", "wrong"), "", "127.0.0.1")) == 401
    assert status(check(access, "any.example", "", basic("nobody", "look"), "", "127.0.0.1")) == 401
    assert check(access, "any.example", "", basic("console", "look"), "", "9.9.9.9") == Grant(frozenset({"read"}))
    assert check(access, "any.example", "", basic("backend", "secret"), "", "172.16.0.9") == Grant(
        frozenset({"read", "write"})
    )
    assert status(check(access, "any.example", "", basic("backend", "secret"), "", "172.17.0.9")) == 403
    assert status(check(access, "any.example", "", "", "username=console&password=look", "::1")) == 200
    assert status(check(access, "any.example", "", "", "username=console", "::1")) == 401
    assert status(check(access, "any.example", "https://page.example", basic("console", "look"), "", "::1")) == 200


def test_listed_origins_count_with_users_too() -> None:
    access = Access((READER,), (), ("https://console.example",), "127.0.0.1:6789")
    assert status(check(access, "h", "https://console.example", basic("console", "look"), "", "::1")) == 200
    assert status(check(access, "h", "https://other.example", basic("console", "look"), "", "::1")) == 403


@pytest.mark.parametrize(
    ("pattern", "address", "matches"),
    [
        ("*", "::1", True),
        ("172.*.*.*", "172.1.2.3", True),
        ("172.*.*.*", "::ffff:172.1.2.3", True),
        ("172.*.*.*", "173.1.2.3", False),
        ("172.16.0.1", "172.16.0.1", True),
        ("172.*", "172.1.2.3", False),
        ("::1", "::1", True),
        ("172.*.*.*", "::1", False),
    ],
)
def test_host_patterns(pattern: str, address: str, matches: bool) -> None:
    assert host_matches(pattern, address) is matches
