# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from towline.errors import StartError
from towline.gateway.admission import Admission, networks

PROXIES = networks(["10.0.0.0/8", "fd00::1", "192.0.2.7"], "gateway.trusted_proxies")


def test_a_port_has_so_many_connections() -> None:
    admission = Admission(2, 0)
    assert admission.enter("") == admission.enter("") == ""
    assert admission.enter("") == "too_many"
    admission.leave("")
    assert admission.enter("") == ""
    assert admission.count == 2


def test_an_address_has_so_many_connections() -> None:
    admission = Admission(0, 2)
    one, other = admission.address("198.51.100.1"), admission.address("198.51.100.2")
    assert admission.enter(one) == admission.enter(one) == ""
    assert admission.enter(one) == "too_many_from_address"
    assert admission.enter(other) == ""
    admission.leave(one)
    assert admission.enter(one) == ""
    for address in (one, one, other):
        admission.leave(address)
    assert admission.count == 0
    assert not admission._addresses


def test_without_a_limit_for_addresses_they_are_not_looked_at() -> None:
    assert Admission(5, 0, PROXIES).address("not an address", "1.2.3.4") == ""


@pytest.mark.parametrize(
    ("peer", "forwarded", "real_ip", "address"),
    [
        ("198.51.100.1", "", "", "198.51.100.1"),
        ("198.51.100.1", "203.0.113.9", "203.0.113.8", "198.51.100.1"),  # not a proxy of ours
        ("10.1.2.3", "", "", "10.1.2.3"),
        ("10.1.2.3", "203.0.113.9", "", "203.0.113.9"),
        ("10.1.2.3", "6.6.6.6, 203.0.113.9", "", "203.0.113.9"),  # what the client wrote itself counts for nothing
        ("10.1.2.3", "6.6.6.6, 203.0.113.9, 192.0.2.7", "", "203.0.113.9"),
        ("10.1.2.3", "203.0.113.9", "203.0.113.8", "203.0.113.9"),
        ("10.1.2.3", "", "203.0.113.8", "203.0.113.8"),
        ("10.1.2.3", "10.9.9.9", "", "10.9.9.9"),
        ("10.1.2.3", "6.6.6.6, unknown", "6.6.6.6", "10.1.2.3"),
        ("10.1.2.3", "6.6.6.6, _hidden, 10.0.0.1", "", "10.0.0.1"),
        ("fd00::1", "[2001:db8:1:2:3::4]", "", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3:4:5:6", "", "", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "", "", "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.1", "", "", "198.51.100.1"),
        ("::ffff:10.0.0.1", "203.0.113.9", "", "203.0.113.9"),
        ("fe80::1%eth0", "", "", "fe80::/64"),
        ("", "", "", ""),
    ],
)
def test_whose_connection_it_is(peer: str, forwarded: str, real_ip: str, address: str) -> None:
    assert Admission(0, 1, PROXIES).address(peer, forwarded, real_ip) == address


def test_a_network_that_is_none() -> None:
    with pytest.raises(StartError) as caught:
        networks(["10.0.0.0/8", "proxy.example"], "gateway.trusted_proxies")
    assert caught.value.code == "gateway.network"
    assert "proxy.example" in str(caught.value)
    assert "gateway.trusted_proxies" in str(caught.value)
