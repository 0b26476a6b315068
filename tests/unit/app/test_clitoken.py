# SPDX-License-Identifier: Apache-2.0
"""The machine's own way in: its token never ends, and the first password is shown as long as it opens anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from towline.app import build
from towline.app.clitoken import CLI_TOKEN_DAYS, CLI_TOKEN_NAME, CliToken
from towline.bus.memory import MemoryBus
from towline.clock import ManualClock
from towline.errors import Refused
from towline.hub.actor import Actor
from towline.hub.hub import Bootstrapped, Hub
from towline.hub.passwords import Passwords
from towline.hub.settings import HubSettings
from towline.store.sqlite import open_store

SYSTEM = Actor.system("main")
DAY_S = 86_400


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def hub(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Hub]:
    store, bus = await open_store(tmp_path / "towline.db", clock), MemoryBus(clock)
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    hub = Hub(store, bus, clock, HubSettings(), secret=bytes(32), passwords=passwords)
    await hub.start()
    yield hub
    await hub.close()
    await bus.close()
    await store.close()


@pytest.fixture
async def made(hub: Hub, tmp_path: Path, clock: ManualClock) -> Bootstrapped:
    return await build.first_start(hub, tmp_path, clock)


@pytest.fixture
def token(hub: Hub, made: Bootstrapped, tmp_path: Path, clock: ManualClock) -> CliToken:
    return CliToken(hub, clock, made.workgroup, tmp_path)


async def opens(hub: Hub, data: Path) -> Actor:
    return await hub.users.verify((data / "cli-token").read_text().strip())


async def test_it_is_renewed_at_half_its_life(hub: Hub, token: CliToken, tmp_path: Path, clock: ManualClock) -> None:
    first = await opens(hub, tmp_path)
    clock.advance((CLI_TOKEN_DAYS / 2 - 1) * DAY_S)
    await token.look()
    assert (await opens(hub, tmp_path)).jti == first.jti
    clock.advance(DAY_S)
    former = (tmp_path / "cli-token").read_text().strip()
    await token.look()
    second = await opens(hub, tmp_path)
    assert second.jti != first.jti
    assert (await hub.users.verify(former)).jti == first.jti  # a command that runs goes on with it
    assert (tmp_path / "cli-token").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("how", ["expired", "revoked", "away", "rubbish"])
async def test_it_is_made_anew(hub: Hub, token: CliToken, tmp_path: Path, clock: ManualClock, how: str) -> None:
    first = await opens(hub, tmp_path)
    if how == "expired":
        clock.advance((CLI_TOKEN_DAYS + 1) * DAY_S)
    elif how == "revoked":
        await hub.users.tokens.revoke(SYSTEM, first.jti)
    elif how == "away":
        (tmp_path / "cli-token").unlink()
    else:
        (tmp_path / "cli-token").write_bytes(b"\xff.\xff")
    await token.look()
    again = await opens(hub, tmp_path)
    assert again.jti != first.jti
    assert again.privileges == {"owner"}


async def test_it_belongs_to_somebody_who_is_an_owner(hub: Hub, token: CliToken, tmp_path: Path) -> None:
    eve = await hub.users.create(SYSTEM, "eve", "correct horse", ["owner"])
    [admin] = [user for user in await hub.users.list(SYSTEM) if user.id != eve.id]
    await hub.users.update(SYSTEM, admin.id, disabled=True)
    with pytest.raises(Refused):
        await opens(hub, tmp_path)
    await token.look()
    assert (await opens(hub, tmp_path)).name == "eve"
    await hub.users.update(SYSTEM, admin.id, disabled=False)
    await hub.users.update(SYSTEM, eve.id, privileges=["read"])
    await token.look()
    assert (await opens(hub, tmp_path)).name == "admin"


async def test_a_start_leaves_one(hub: Hub, token: CliToken, made: Bootstrapped, tmp_path: Path) -> None:
    first = await opens(hub, tmp_path)
    await token.begin()
    assert (await opens(hub, tmp_path)).jti != first.jti
    assert [one.name for one in await hub.users.tokens.list(SYSTEM)] == [CLI_TOKEN_NAME]


@pytest.mark.parametrize("how", ["set", "reset", None])
async def test_the_first_password_is_shown_while_it_opens(
    hub: Hub, made: Bootstrapped, tmp_path: Path, clock: ManualClock, how: str | None
) -> None:
    again = await build.first_start(hub, tmp_path, clock)
    assert again.password == made.password
    clock.advance(60)
    [admin] = await hub.users.list(SYSTEM)
    if how == "set":
        await hub.users.set_password(SYSTEM, admin.id, "another one 123")
    elif how == "reset":
        await hub.users.reset_password(SYSTEM, "admin")
    else:
        assert made.password
        await hub.users.login("admin", made.password, "10.0.0.1")
    assert (await build.first_start(hub, tmp_path, clock)).password is None
    assert not (tmp_path / build.FIRST_PASSWORD).exists()
