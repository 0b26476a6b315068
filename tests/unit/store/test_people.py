# SPDX-License-Identifier: Apache-2.0
"""Users, tokens, enrolments."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from tests.unit.store.support import GROUP, HOUR, NOW, device_key, token, user
from towline.errors import Conflict, NotFound, Refused, TowlineError
from towline.store.base import Store
from towline.store.rows import Enrolment, Facts

HASH = hashlib.sha256(b"token").digest()


def enrolment(enrolment_id: str = "e1", token_hash: bytes = HASH, name: str | None = None) -> Enrolment:
    return Enrolment(
        workgroup=GROUP,
        id=enrolment_id,
        token_hash=token_hash,
        name=name,
        created_us=NOW,
        created_by="ada",
        expires_us=NOW + HOUR,
    )


# -- users


async def test_users_are_found_whatever_the_case_of_their_name(store: Store) -> None:
    await store.users.create(user("u1", "Ada"))
    await store.users.create(user("u2", "bob", "read"))
    await store.users.create(user("u1", "ADA", workgroup="other"))
    found = await store.users.by_name(GROUP, "aDA")
    assert found == await store.users.get(GROUP, "u1")
    assert found is not None
    assert found.privileges == ("owner",)
    assert await store.users.by_name(GROUP, "nobody") is None
    assert [one.workgroup for one in await store.users.named("ada")] == ["other", GROUP]
    assert [one.name for one in await store.users.list(GROUP)] == ["Ada", "bob"]
    with pytest.raises(Conflict, match="already"):
        await store.users.create(user("u3", "BOB"))
    with pytest.raises(NotFound):
        await store.users.create(user("u3", "eve", workgroup="nobody"))


async def test_a_workgroup_keeps_an_owner(store: Store) -> None:
    await store.users.create(user("u1", "ada"))
    for call in (
        store.users.delete(GROUP, "u1", NOW),
        store.users.update(GROUP, "u1", privileges=["read"], now_us=NOW),
        store.users.update(GROUP, "u1", disabled=True, now_us=NOW),
    ):
        with pytest.raises(Conflict) as error:
            await call
        assert error.value.code == "user.last_owner"
    await store.users.create(user("u2", "bob"))
    answers = await asyncio.gather(
        store.users.delete(GROUP, "u1", NOW), store.users.delete(GROUP, "u2", NOW), return_exceptions=True
    )
    assert sum(isinstance(answer, Conflict) for answer in answers) == 1


async def test_a_new_password_ends_sessions_only(store: Store) -> None:
    await store.users.create(user())
    for one in (token("s1"), token("s2"), token("a1", kind="api"), token("old", expires_us=NOW)):
        await store.tokens.create(one)
    assert await store.users.set_password(GROUP, "u1", "new", NOW + 1, keep_jti="s2") == ["s1"]
    found = await store.users.get(GROUP, "u1")
    assert found is not None
    assert (found.password_hash, found.password_us) == ("new", NOW + 1)
    assert [one.jti for one in await store.tokens.list(GROUP, now_us=NOW + 2)] == ["a1", "s2"]
    assert not await store.users.set_hash(GROUP, "u1", "old", "better")
    assert await store.users.set_hash(GROUP, "u1", "new", "better")


async def test_updates(store: Store) -> None:
    await store.users.create(user())
    await store.users.create(user("u2", "bob", "read"))
    await store.tokens.create(token("t", "u2", kind="api"))
    changed, ended = await store.users.update(
        GROUP, "u2", display_name="Bob B.", privileges=["read", "owner"], now_us=NOW
    )
    assert (changed.display_name, changed.privileges, ended) == ("Bob B.", ("read", "owner"), [])
    disabled, ended = await store.users.update(GROUP, "u2", disabled=True, now_us=NOW + 3)
    assert (disabled.disabled_us, ended) == (NOW + 3, ["t"])
    enabled, _ = await store.users.update(GROUP, "u2", disabled=False, now_us=NOW)
    assert enabled.disabled_us is None
    await store.users.note_login(GROUP, "u2", NOW + 9)
    found = await store.users.get(GROUP, "u2")
    assert found is not None
    assert found.last_login_us == NOW + 9
    with pytest.raises(NotFound):
        await store.users.update(GROUP, "u9", now_us=NOW)


async def test_deleting_a_user_ends_all_tokens(store: Store) -> None:
    await store.users.create(user())
    await store.users.create(user("u2", "bob", "read"))
    for one in (token("s", "u2"), token("a", "u2", kind="api"), token("x", "u1")):
        await store.tokens.create(one)
    assert sorted(await store.users.delete(GROUP, "u2", NOW)) == ["a", "s"]
    ended = await store.tokens.get("a")
    assert ended is not None
    assert not ended.valid(NOW)


# -- tokens


async def test_tokens(store: Store) -> None:
    await store.users.create(user())
    await store.tokens.create(token("t1"))
    with pytest.raises(Conflict):
        await store.tokens.create(token("t1"))
    with pytest.raises(NotFound):
        await store.tokens.create(token("t2", "nobody"))
    found = await store.tokens.get("t1")
    assert found == token("t1")
    assert found is not None
    assert found.valid(NOW)
    assert not found.valid(NOW + HOUR)
    assert await store.tokens.get("t9") is None
    await store.tokens.touch("t1", NOW + 5)
    await store.tokens.touch("t1", NOW + 3)
    touched = await store.tokens.get("t1")
    assert touched is not None
    assert touched.last_used_us == NOW + 5
    assert await store.tokens.revoke(GROUP, "t1", NOW)
    assert not await store.tokens.revoke(GROUP, "t1", NOW)
    for workgroup, jti in ((GROUP, "t9"), ("other", "t1")):
        with pytest.raises(NotFound):
            await store.tokens.revoke(workgroup, jti, NOW)


async def test_token_lists_ends_and_sweeps(store: Store) -> None:
    await store.users.create(user())
    await store.users.create(user("u2", "bob"))
    await store.tokens.create(token("s1", created_us=NOW))
    await store.tokens.create(token("a1", kind="api", created_us=NOW + 1, expires_us=NOW + 2 * HOUR))
    await store.tokens.create(token("b1", "u2", created_us=NOW + 2))
    assert [one.jti for one in await store.tokens.list(GROUP)] == ["b1", "a1", "s1"]
    assert [one.jti for one in await store.tokens.list(GROUP, kind="session", user_id="u1")] == ["s1"]
    assert await store.tokens.list("other") == []
    assert [one.jti for one in await store.tokens.expired(NOW, NOW + HOUR + 1)] == ["b1", "s1"]
    assert await store.tokens.revoke_all(GROUP, "u1", NOW, kind="session") == ["s1"]
    assert [one.jti for one in await store.tokens.expired(NOW, NOW + HOUR + 1)] == ["b1"]
    assert await store.tokens.sweep(NOW + 1) == 1
    assert await store.tokens.sweep(NOW + 5 * HOUR, limit=1) == 1
    assert await store.tokens.sweep(NOW + 5 * HOUR) == 1


# -- enrolments


async def redeem(store: Store, n: int = 70, *, at: int = NOW, device: str = "new") -> tuple[str, bool]:
    answer = await store.enrolments.redeem(HASH, device_key(n), device, "host name", Facts(hostname="h"), at)
    assert answer.enrolment.device_id == answer.device.id
    return answer.device.id, answer.new


async def test_redeeming_makes_a_device_once(store: Store) -> None:
    await store.enrolments.create(enrolment())
    assert await redeem(store) == ("new", True)
    assert await redeem(store, device="newer", at=NOW + 2 * HOUR) == ("new", False)
    entry = await store.devices.get(GROUP, "new")
    assert entry is not None
    assert (entry.device.name, entry.device.group, entry.device.facts.hostname) == ("host name", "default", "h")
    with pytest.raises(Refused) as error:
        await redeem(store, 71)
    assert error.value.code == "enrolment.used"
    with pytest.raises(Conflict):
        await store.enrolments.revoke(GROUP, "e1", NOW)


async def test_two_machines_race_for_one_token(store: Store) -> None:
    await store.enrolments.create(enrolment())
    answers = await asyncio.gather(*[redeem(store, 70 + n, device=f"n{n}") for n in range(5)], return_exceptions=True)
    assert sum(not isinstance(answer, Refused) for answer in answers) == 1
    assert (await store.devices.counts(GROUP)).total == 3


async def test_a_known_key_brings_its_device_back(store: Store) -> None:
    await store.enrolments.create(enrolment(name="A name"))
    await store.devices.revoke(GROUP, "d1", NOW)
    assert await redeem(store, 0) == ("d1", False)
    entry = await store.devices.get(GROUP, "d1")
    assert entry is not None
    assert entry.device.revoked_us is None
    await store.devices.revoke(GROUP, "d1", NOW)
    with pytest.raises(Refused):
        await redeem(store, 0)
    await store.devices.delete(GROUP, "d1")
    with pytest.raises(Refused):
        await redeem(store, 0)


async def test_the_name_given_at_creation_goes_first(store: Store) -> None:
    await store.enrolments.create(enrolment(name="Press 7"))
    await redeem(store)
    entry = await store.devices.get(GROUP, "new")
    assert entry is not None
    assert entry.device.name == "Press 7"


async def test_enrolments_end(store: Store) -> None:
    with pytest.raises(NotFound):
        await redeem(store)
    await store.enrolments.create(enrolment())
    with pytest.raises(Conflict):
        await store.enrolments.create(enrolment("e2"))
    with pytest.raises(Refused) as expired:
        await redeem(store, at=NOW + HOUR)
    assert await store.enrolments.revoke(GROUP, "e1", NOW)
    assert not await store.enrolments.revoke(GROUP, "e1", NOW)
    with pytest.raises(Refused) as revoked:
        await redeem(store)
    assert [expired.value.code, revoked.value.code] == ["enrolment.expired", "enrolment.revoked"]
    with pytest.raises(TowlineError):
        await store.enrolments.revoke("other", "e1", NOW)
    assert await store.enrolments.get("other", "e1") is None
    assert [one.id for one in await store.enrolments.list(GROUP)] == ["e1"]
    assert await store.enrolments.sweep(NOW + 2 * HOUR) == 1
    assert await store.enrolments.list(GROUP) == []
