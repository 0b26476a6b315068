# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio

import jwt
import pytest

from tests.unit.hub.conftest import SECRET, MakeHub, only
from tests.unit.hub.fakes import Door, settle
from towline.clock import ManualClock
from towline.errors import Conflict, InvalidInput, NotFound, Refused, TowlineError, Unavailable
from towline.hub import events
from towline.hub.actor import Actor
from towline.hub.hub import Hub
from towline.hub.views import UserView
from towline.store.rows import User

PASSWORD = "correct horse battery"


@pytest.fixture
async def ada(hub: Hub, owner: Actor) -> UserView:
    return await hub.users.create(owner, "ada", PASSWORD, ["owner"], "Ada L.")


async def signed_in(hub: Hub, name: str = "ada", password: str = PASSWORD, ip: str = "10.0.0.1") -> Actor:
    return await hub.users.verify((await hub.users.login(name, password, ip)).token, ip)


async def test_login_gives_a_session_of_ten_hours(hub: Hub, ada: UserView, clock: ManualClock) -> None:
    session = await hub.users.login("ADA", PASSWORD, "10.0.0.1")
    assert (session.user_name, session.display_name, session.workgroup, session.workgroup_name) == (
        "ada",
        "Ada L.",
        "main",
        "Main",
    )
    assert session.expires_us == clock.now_us() + 36_000_000_000
    actor = await hub.users.verify(session.token, "10.0.0.1")
    assert (actor.name, actor.kind, actor.jti, actor.remote) == ("ada", "user", session.jti, "10.0.0.1")
    again = await hub.users.session(actor)
    assert (again.jti, again.expires_us, again.token) == (session.jti, session.expires_us, "")
    clock.advance(36_001)
    with pytest.raises(Refused) as expired:
        await hub.users.verify(session.token)
    assert expired.value.code == "token.expired"
    assert (await hub.users.list(actor))[0].last_login_us > 0


@pytest.mark.parametrize(("name", "password"), [("ada", "wrong"), ("nobody", PASSWORD), ("", "")])
async def test_wrong_name_and_wrong_password_look_alike(hub: Hub, ada: UserView, name: str, password: str) -> None:
    with pytest.raises(Refused, match="name or password is wrong") as wrong:
        await hub.users.login(name, password, "10.0.0.1")
    assert wrong.value.code == "login.wrong"


async def test_failures_are_throttled_and_audited(hub: Hub, ada: UserView, owner: Actor, clock: ManualClock) -> None:
    for _ in range(5):
        with pytest.raises(Refused):
            await hub.users.login("ada", "wrong", "10.0.0.1")
    with pytest.raises(Unavailable) as throttled:
        await hub.users.login("ada", PASSWORD, "10.0.0.1")
    assert (throttled.value.code, throttled.value.hint) == ("login.throttled", "try again in 300 seconds")
    assert await signed_in(hub, ip="10.0.0.2")
    clock.advance(301)
    assert await signed_in(hub)
    entries = (await hub.audit.list(owner)).items
    assert [one.action for one in entries].count("user.login_failed") == 5
    assert entries[0].action == "user.login"


async def test_a_new_password_lifts_the_throttle(hub: Hub, ada: UserView, owner: Actor) -> None:
    async def lock() -> None:
        for _ in range(5):
            with pytest.raises(Refused):
                await hub.users.login("Ada", "wrong", "10.0.0.1")

    await lock()
    await hub.users.set_password(owner, ada.id, "another one 123")
    assert await signed_in(hub, password="another one 123")
    await lock()
    assert await signed_in(hub, password=await hub.users.reset_password(Actor.system("main"), "ada"))


async def test_many_guesses_at_once_are_not_more_guesses(hub: Hub, ada: UserView) -> None:
    guesses = [hub.users.login("ada", f"guess {n}", "10.0.0.1") for n in range(40)]
    answers = await asyncio.gather(*guesses, return_exceptions=True)
    codes = [answer.code for answer in answers if isinstance(answer, TowlineError)]
    assert (codes.count("login.wrong"), codes.count("login.throttled")) == (5, 35)
    found = await asyncio.gather(*(hub.users.login("ada", PASSWORD, "10.0.0.2") for _ in range(20)))
    assert len({one.jti for one in found}) == 20


async def test_logout_ends_the_token_at_once(hub: Hub, ada: UserView, door: Door) -> None:
    session = await hub.users.login("ada", PASSWORD, "10.0.0.1")
    actor = await hub.users.verify(session.token)
    await hub.users.logout(actor)
    with pytest.raises(Refused) as revoked:
        await hub.users.verify(session.token)
    assert revoked.value.code == "token.revoked"
    assert (await door.wait(events.TokenEnded)).jti == session.jti


async def test_another_hub_hears_of_it(hub: Hub, ada: UserView, make_hub: MakeHub) -> None:
    other = await make_hub()
    session = await hub.users.login("ada", PASSWORD, "10.0.0.1")
    await other.users.verify(session.token)
    await hub.users.logout(await hub.users.verify(session.token))
    await settle()
    with pytest.raises(Refused):
        await other.users.verify(session.token)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "x" * 5000, "\ud800", "é.é.é"])
async def test_what_is_no_token(hub: Hub, token: str) -> None:
    with pytest.raises(Refused) as invalid:
        await hub.users.verify(token)
    assert invalid.value.code == "token.invalid"


async def test_forged_tokens(hub: Hub, ada: UserView) -> None:
    session = await hub.users.login("ada", PASSWORD, "10.0.0.1")
    claims = jwt.decode(session.token, options={"verify_signature": False})
    for key in (SECRET, b"x" * 32):
        with pytest.raises(Refused):
            await hub.users.verify(jwt.encode(claims, key, algorithm="HS256"))
    head, body, _ = session.token.split(".")
    with pytest.raises(Refused):
        await hub.users.verify(f"{head}.{body}.")


async def test_own_password(hub: Hub, ada: UserView, door: Door) -> None:
    here, elsewhere = await signed_in(hub), await signed_in(hub)
    with pytest.raises(Refused, match="old password"):
        await hub.users.change_password(here, "wrong", "another one 123")
    with pytest.raises(InvalidInput) as short:
        await hub.users.change_password(here, PASSWORD, "short")
    assert (short.value.code, short.value.where) == ("password.too_short", "$.new")
    await hub.users.change_password(here, PASSWORD, "another one 123")
    assert (await door.wait(events.TokenEnded)).jti == elsewhere.jti
    assert await hub.users.session(here)
    assert await signed_in(hub, password="another one 123")


async def test_users_are_managed(hub: Hub, owner: Actor, ada: UserView, door: Door) -> None:
    bob = await hub.users.create(owner, "bob", PASSWORD, ["read", "control_devices"])
    with pytest.raises(Conflict) as twice:
        await hub.users.create(owner, "BOB", PASSWORD, [])
    assert twice.value.code == "user.exists"
    actor = await signed_in(hub, "bob")
    assert actor.privileges == {"read", "control_devices"}
    session = await hub.users.login("bob", PASSWORD, "10.0.0.1")
    changed = await hub.users.update(owner, bob.id, display_name="Bob", privileges=["read"])
    assert (changed.display_name, changed.privileges) == ("Bob", ["read"])
    with pytest.raises(Refused):
        await hub.users.verify(session.token)
    await door.wait(events.TokenEnded, 2)
    await hub.users.update(owner, bob.id, disabled=True)
    with pytest.raises(Refused, match="wrong"):
        await hub.users.login("bob", PASSWORD, "10.0.0.1")
    await hub.users.update(owner, bob.id, disabled=False)
    await hub.users.set_password(owner, bob.id, "a new password")
    assert await signed_in(hub, "bob", "a new password")
    await hub.users.delete(owner, bob.id)
    assert [user.name for user in await hub.users.list(owner)] == ["ada"]
    with pytest.raises(NotFound):
        await hub.users.delete(owner, bob.id)
    with pytest.raises(Conflict) as last:
        await hub.users.delete(owner, ada.id)
    assert last.value.code == "user.last_owner"


async def test_nobody_rises_above_themselves(hub: Hub, owner: Actor, ada: UserView) -> None:
    manager = only(owner, "manage_access", "read")
    with pytest.raises(Refused) as lacking:
        await hub.users.create(manager, "eve", PASSWORD, ["owner"])
    assert lacking.value.code == "privilege.not_yours"
    for attempt in (
        hub.users.set_password(manager, ada.id, PASSWORD),
        hub.users.update(manager, ada.id, privileges=["read"]),
        hub.users.delete(manager, ada.id),
        hub.users.reset_password(manager, "ada"),
    ):
        with pytest.raises(Refused):
            await attempt
    eve = await hub.users.create(manager, "eve", PASSWORD, ["read"])
    with pytest.raises(Refused):
        await hub.users.update(manager, eve.id, privileges=["control_devices"])


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 65, "ünal"])
async def test_names(hub: Hub, owner: Actor, name: str) -> None:
    with pytest.raises(InvalidInput) as bad:
        await hub.users.create(owner, name, PASSWORD, [])
    assert bad.value.code == "user.name"


async def test_reset_password(hub: Hub, ada: UserView) -> None:
    system = Actor.system("main")
    password = await hub.users.reset_password(system, "Ada")
    assert await signed_in(hub, password=password)
    with pytest.raises(NotFound):
        await hub.users.reset_password(system, "nobody")


async def test_api_tokens(hub: Hub, ada: UserView, owner: Actor, clock: ManualClock, door: Door) -> None:
    actor = await signed_in(hub)
    made = await hub.users.tokens.create(actor, "ci", ["read", "control_devices"], ttl_days=30)
    as_token = await hub.users.verify(made.token, "10.0.0.9")
    assert (as_token.kind, as_token.name) == ("token", "ada")
    assert as_token.privileges == {"read", "control_devices"}
    [listed] = await hub.users.tokens.list(actor)
    assert listed == made.info
    with pytest.raises(Refused):
        await hub.users.tokens.create(as_token, "more", ["manage_devices"])
    with pytest.raises(Refused, match="manage_access"):
        await hub.users.tokens.create(as_token, "one that outlives me", ["read"])
    await hub.users.tokens.revoke(actor, made.info.jti)
    with pytest.raises(Refused, match="revoked"):
        await hub.users.verify(made.token)
    assert (await door.wait(events.TokenEnded)).jti == made.info.jti
    assert await hub.users.tokens.list(actor) == []


async def test_a_token_never_has_more_than_its_user(hub: Hub, ada: UserView, owner: Actor) -> None:
    bob = await hub.users.create(owner, "bob", PASSWORD, ["read", "control_devices"])
    made = await hub.users.tokens.create(await signed_in(hub, "bob"), "t", ["read", "control_devices"])
    await hub.users.update(owner, bob.id, privileges=["read"])
    assert (await hub.users.verify(made.token)).privileges == {"read"}


async def test_tokens_of_others(hub: Hub, ada: UserView, owner: Actor) -> None:
    await hub.users.create(owner, "bob", PASSWORD, ["read"])
    bob = await signed_in(hub, "bob")
    mine = await hub.users.tokens.create(await signed_in(hub), "ada's", ["read"])
    with pytest.raises(Refused):
        await hub.users.tokens.revoke(bob, mine.info.jti)
    assert await hub.users.tokens.list(bob) == []
    own = await hub.users.tokens.create(bob, "bob's", ["read"])
    assert {one.user_name for one in await hub.users.tokens.list(owner)} == {"ada", "bob"}
    await hub.users.tokens.revoke(only(owner, "manage_access"), own.info.jti)
    with pytest.raises(NotFound):
        await hub.users.tokens.revoke(owner, "nothing")


async def test_a_token_reaches_no_other_tokens_of_its_user(hub: Hub, ada: UserView) -> None:
    session = await signed_in(hub)
    other = await hub.users.tokens.create(session, "backup", ["owner"])
    weak = await hub.users.tokens.create(session, "weak", [])
    actor = await hub.users.verify(weak.token)
    assert await hub.users.tokens.list(actor) == [weak.info]
    with pytest.raises(Refused, match="which this token does not have"):
        await hub.users.tokens.revoke(actor, other.info.jti)
    await hub.users.tokens.revoke(actor, weak.info.jti)
    manager = await hub.users.tokens.create(session, "manager", ["manage_access"])
    strong = await hub.users.verify(manager.token)
    assert {one.name for one in await hub.users.tokens.list(strong)} == {"backup", "manager"}
    await hub.users.tokens.revoke(strong, other.info.jti)


async def test_rules_of_tokens(hub: Hub, ada: UserView, owner: Actor) -> None:
    actor = await signed_in(hub)
    with pytest.raises(InvalidInput, match="1 to 3650"):
        await hub.users.tokens.create(actor, "t", ["read"], ttl_days=0)
    with pytest.raises(InvalidInput, match="'fly'"):
        await hub.users.tokens.create(actor, "t", ["fly"])
    with pytest.raises(Refused, match="belongs to a user"):
        await hub.users.tokens.create(Actor.system("main"), "t", ["read"])


async def test_expired_tokens_end_their_sockets(hub: Hub, ada: UserView, clock: ManualClock, door: Door) -> None:
    session = await hub.users.login("ada", PASSWORD, "10.0.0.1")
    clock.advance(36_001)
    await hub._sweeps.turn()
    assert (await door.wait(events.TokenEnded)).jti == session.jti


async def test_lost_privileges_are_told_to_doors_and_hubs(
    hub: Hub, ada: UserView, owner: Actor, door: Door, make_hub: MakeHub
) -> None:
    """An API token stays valid, but what it opened must not keep what its user lost."""
    other = await make_hub()
    eve = await hub.users.create(owner, "eve", PASSWORD, ["read", "control_devices"])
    made = await hub.users.tokens.create(await signed_in(hub, "eve"), "ci", ["read", "control_devices"])
    assert "control_devices" in (await other.users.verify(made.token)).privileges
    await hub.users.update(owner, eve.id, privileges=["read"])
    assert (await door.wait(events.AccessChanged)).user_id == eve.id
    for one in (hub, other):
        assert (await one.users.verify(made.token)).privileges == frozenset({"read"})
    await hub.users.update(owner, eve.id, privileges=["read", "read_audit"])
    await settle()
    assert len(door.of(events.AccessChanged)) == 1


async def test_a_token_revoked_while_it_is_looked_up_is_not_remembered(
    hub: Hub, ada: UserView, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await hub.users.login("ada", PASSWORD, "10.0.0.1")
    users = hub.users._core.store.users
    get = users.get

    async def slowly(workgroup: str, user_id: str) -> User | None:
        found = await get(workgroup, user_id)
        monkeypatch.undo()
        await hub.users.logout(actor)
        return found

    actor = await hub.users.verify(session.token)
    hub.users.tokens.forget(session.jti)
    monkeypatch.setattr(users, "get", slowly)
    await hub.users.verify(session.token)
    with pytest.raises(Refused):
        await hub.users.verify(session.token)
