# SPDX-License-Identifier: Apache-2.0
"""Client ports with TLS, and what is refused without."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.certificates import write_pair
from tests.helpers import until
from tests.integration.gateway.running import running_node
from towline.errors import StartError


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, str]:
    chain, key = write_pair(tmp_path)
    return {"certificate": str(chain), "key": str(key)}


async def test_clients_speak_tls(certificate: dict[str, str]) -> None:
    trust = ssl.create_default_context(cafile=certificate["certificate"])
    async with running_node(entry="builtin:echo", **certificate) as node:
        url = f"wss://localhost:{node.clients_address[1]}/"
        async with connect(url, ssl=trust) as client:
            await client.send("x" * 60_000)
            assert await client.recv() == "x" * 60_000
            (connection,) = node.realm.connections.values()
            for _ in range(20):
                connection.send("y" * 50_000)
            for _ in range(20):
                assert await client.recv() == "y" * 50_000
        await until(lambda: not node.realm.connections)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"clients_listen": "0.0.0.0:0"}, "gateway.tls_needed"),
        ({"link_listen": "[::]:0", "entry": "builtin:echo"}, "gateway.tls_needed"),
        ({"certificate": "x"}, "gateway.tls_incomplete"),
        ({"certificate": "/no/such/file", "key": "/no/such/file"}, "gateway.tls_files"),
        ({"entry": "builtin:nothing"}, "gateway.entry"),
    ],
)
async def test_what_a_node_refuses_to_start_with(settings: dict[str, Any], code: str) -> None:
    with pytest.raises(StartError) as caught:
        async with running_node(**settings):
            pass
    assert caught.value.code == code
    assert str(caught.value.where).startswith("gateway.")


async def test_a_port_that_is_taken_is_named() -> None:
    async with running_node() as node:
        for key, port in (("api_listen", node.api_address[1]), ("clients_listen", node.clients_address[1])):
            with pytest.raises(StartError) as caught:
                async with running_node(**{key: f"127.0.0.1:{port}"}):
                    pass
            assert caught.value.code == "port.taken"
            assert str(port) in caught.value.message


async def test_off_loopback_a_port_with_clients_opens_without_the_link(caplog: pytest.LogCaptureFixture) -> None:
    async with running_node(clients_listen="0.0.0.0:0", entry="builtin:echo") as node:
        assert any("link needs TLS" in record.getMessage() for record in caplog.records)
        assert not node.ports[0].routes
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        async with running_node(clients_listen="0.0.0.0:0", behind_proxy=True) as node:
            assert node.ports[0].routes
            assert not caplog.records
