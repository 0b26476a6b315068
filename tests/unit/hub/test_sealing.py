# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import secrets

import pytest

from towline.errors import StartError
from towline.hub.sealing import Sealer

SECRET = bytes(range(32))


def test_round_trip_is_bound_to_purpose_and_key() -> None:
    sealer = Sealer(SECRET, secrets.token_bytes)
    sealed = sealer.seal("plugin:a", b"key")
    assert b"key" not in sealed
    assert sealer.open("plugin:a", sealed) == b"key"
    with pytest.raises(StartError, match="not written under this secret"):
        sealer.open("plugin:b", sealed)
    with pytest.raises(StartError, match="not written under this secret"):
        Sealer(bytes(32), secrets.token_bytes).open("plugin:a", sealed)
    with pytest.raises(StartError, match="unknown form"):
        sealer.open("plugin:a", b"")


def test_nonces_differ_and_purposes_give_other_keys() -> None:
    sealer = Sealer(SECRET, secrets.token_bytes)
    assert sealer.seal("a", b"x") != sealer.seal("a", b"x")
    assert sealer.derive("a") != sealer.derive("b")
    assert sealer.derive("a") == Sealer(SECRET, secrets.token_bytes).derive("a")


def test_the_key_has_32_bytes() -> None:
    with pytest.raises(StartError, match="must have 32"):
        Sealer(b"short", secrets.token_bytes)
