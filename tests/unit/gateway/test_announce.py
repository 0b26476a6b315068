# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ipaddress

import pytest

from tests.unit.bus.recorder import Recorder
from towline.bus.memory import MemoryBus
from towline.clock import SystemClock
from towline.gateway.announce import announcement, listed_nodes, outward


@pytest.mark.parametrize(
    ("configured", "bound", "bus_host", "told"),
    [
        ("", ("127.0.0.1", 6789), "10.0.0.5", {"api_server": "127.0.0.1:6789"}),
        ("", ("192.0.2.7", 1), "", {"api_server": "192.0.2.7:1"}),
        ("push.example:443", ("0.0.0.0", 6789), "10.0.0.5", {"api_server": "push.example:443"}),
        ("", ("0.0.0.0", 6789), "10.0.0.5", {"api_server": "10.0.0.5:6789", "api_guessed": "1"}),
        ("", ("::", 6789), "fd00::5", {"api_server": "[fd00::5]:6789", "api_guessed": "1"}),
    ],
)
def test_what_a_node_tells(configured: str, bound: tuple[str, int], bus_host: str, told: dict[str, str]) -> None:
    assert announcement(configured, bound, bus_host) == told


def test_a_bus_on_this_machine_says_nothing_about_the_way_to_it() -> None:
    host, _, port = announcement("", ("0.0.0.0", 6789), "127.0.0.1")["api_server"].rpartition(":")
    assert port == "6789"
    assert host == (outward() or "127.0.0.1")
    assert not ipaddress.ip_address(host.strip("[]")).is_unspecified


async def test_a_node_lists_itself_as_it_was_asked() -> None:
    bus = MemoryBus(SystemClock())
    info = announcement("", ("0.0.0.0", 6789), "10.0.0.5")
    endpoint = await bus.open("node", Recorder(), info=info, lease_number=True)
    await bus.open("node", Recorder(), info=announcement("", ("0.0.0.0", 7), "10.0.0.6"), lease_number=True)
    one, two = sorted(listed_nodes(endpoint, "192.0.2.9"), key=lambda node: str(node["id"]))
    assert one == {
        "id": "1", "api_server": "192.0.2.9:6789", "host": "192.0.2.9:6789", "ip": "192.0.2.9", "port": 6789,
    }  # fmt: skip
    assert two["api_server"] == "10.0.0.6:7"
    assert listed_nodes(endpoint, "")[0]["api_server"] == "10.0.0.5:6789"
    assert listed_nodes(None, "") == []
    await bus.close()
