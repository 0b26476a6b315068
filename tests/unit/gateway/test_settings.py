# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import msgspec
import pytest

from towline.gateway.addresses import join_address, split_address
from towline.gateway.settings import GatewaySettings


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


def test_limits_are_checked() -> None:
    for bad in ({"outbox_bytes": 5}, {"path": "chat"}, {"nothing": 1}, {"users": [{"username": "x"}]}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(bad, GatewaySettings)
