# SPDX-License-Identifier: Apache-2.0
"""Who gets in, and who no longer: the machine's own command line, a new password, somebody who was disabled."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.helpers import until, wait_until
from tests.integration.product import Product, local_device


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    made = Product(tmp_path)
    yield made
    made.close()


def test_the_machines_own_command_line_gets_in_whatever_happened_to_its_token(product: Product) -> None:
    product.start()
    with sqlite3.connect(product.data / "towline.db", timeout=10) as database:
        changed = database.execute("UPDATE token SET created_us = 0, expires_us = 1 WHERE kind = 'api'").rowcount
    database.close()
    assert changed == 1
    wait_until(lambda: product.towline("device", "ls").returncode == 0, 30, what="the command line let in again")
    assert product.towline("user", "reset-password").returncode == 0
    assert product.stop() == 0
    product.start()
    assert "with the password" not in product.output()
    assert not (product.data / "first-password").exists()


async def test_a_disabled_user_gets_no_more_output(product: Product, tmp_path: Path) -> None:
    await asyncio.to_thread(product.start)
    with product.client() as owner:
        device = await asyncio.to_thread(local_device, owner)
        eve = {"name": "eve", "password": "correct horse", "privileges": ["control_devices"]}
        user = owner.post("/users", json=eve).json()
        session = owner.post("/session", json={"user": "eve", "password": "correct horse"}).json()
        owner.cookies.clear()
        begun = tmp_path / "begun"
        url = f"{product.url}/api/towline/v1/devices/{device['id']}/exec"
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {session['token']}"}, timeout=20) as client:
            waiting = asyncio.create_task(client.post(url, json={"cmd": f"echo secret; touch {begun}; sleep 60"}))
            await until(begun.exists)
            assert owner.patch(f"/users/{user['id']}", json={"disabled": True}).status_code == 200
            async with asyncio.timeout(5):
                answer = await waiting
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "token.revoked")
    assert "secret" not in answer.text
