# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket

import msgspec
import pytest

from towline.gateway.addresses import cannot_listen, join_address, split_address
from towline.gateway.settings import GatewaySettings, UserSettings


@pytest.mark.parametrize(
    ("address", "parts"), [("127.0.0.1:6789", ("127.0.0.1", 6789)), ("[::1]:0", ("::1", 0)), ("host:1", ("host", 1))]
)
def test_addresses(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts
    assert join_address(*parts) == address


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:x", "host:70000", "::1:6789", "host:-1"])
def test_addresses_that_are_refused(address: str) -> None:
    with pytest.raises(ValueError):
        split_address(address)


def test_everything_has_a_default_and_a_description() -> None:
    assert GatewaySettings() == msgspec.convert({}, GatewaySettings)
    for field in msgspec.structs.fields(GatewaySettings):
        assert "description=" in repr(field.type), field.name


@pytest.mark.parametrize("pattern", ["127.*", "localhost", "127.0.0.0/8", "1.2.3.256", "", "*.*"])
def test_a_pattern_that_matches_no_address_is_refused(pattern: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="matches no address") as caught:
        msgspec.convert({"users": [{"username": "u", "password": "p", "host": pattern}]}, GatewaySettings)
    assert "users[0]" in str(caught.value)


@pytest.mark.parametrize("pattern", ["*", "172.16.*.*", "*.*.*.*", "10.0.0.1", "::1", "fd00::5"])
def test_patterns_of_addresses(pattern: str) -> None:
    assert msgspec.convert({"username": "u", "password": "p", "host": pattern}, UserSettings).host == pattern


@pytest.mark.parametrize("field", ["api_listen", "clients_listen", "link_listen", "center_listen", "api_address"])
def test_an_address_that_is_none_is_named(field: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"{field}: 'nonsense' is not host:port"):
        msgspec.convert({field: "nonsense"}, GatewaySettings)


def test_two_ports_at_one_address_are_named() -> None:
    with pytest.raises(
        msgspec.ValidationError, match=r"clients_listen: 127.0.0.1:6789 is the address of gateway.api_listen too"
    ):
        msgspec.convert({"clients_listen": "127.0.0.1:6789"}, GatewaySettings)
    with pytest.raises(msgspec.ValidationError, match=r"listeners\[0\].listen: .* of gateway.clients_listen too"):
        msgspec.convert({"listeners": [{"listen": "127.0.0.1:6790"}]}, GatewaySettings)
    ports = {"listeners": [{"listen": "127.0.0.1:0"}, {"listen": "127.0.0.1:0"}, {"listen": "127.0.0.2:6790"}]}
    assert len(msgspec.convert(ports, GatewaySettings).listeners) == 3


def test_two_redis_servers_of_one_name_are_named() -> None:
    with pytest.raises(
        msgspec.ValidationError, match=r"redis\[1\]\.name: 'default' is the name of gateway\.redis\[0\] too"
    ):
        msgspec.convert({"redis": [{}, {"addr": "other:1"}]}, GatewaySettings)
    assert len(msgspec.convert({"redis": [{}, {"name": "b"}]}, GatewaySettings).redis) == 2


@pytest.mark.parametrize("addr", ["localhost", ":6379", "localhost:", "localhost:x", "localhost:0", "localhost:65536"])
def test_an_address_of_redis_that_is_none_is_named(addr: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"addr: .* is not host:port with a port of 1 to 65535"):
        msgspec.convert({"redis": [{"addr": addr}]}, GatewaySettings)


def test_a_host_that_is_not_known_is_said_so() -> None:
    error = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    assert "Temporary failure in name resolution" in str(cannot_listen(error, "nosuch.invalid:1", "gateway.api_listen"))


def test_limits_are_checked() -> None:
    for bad in ({"outbox_bytes": 5}, {"path": "chat"}, {"nothing": 1}, {"users": [{"username": "x"}]}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(bad, GatewaySettings)
