# SPDX-License-Identifier: Apache-2.0
"""Shorthands of the store's tests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from towline.protocols.link.items import Dec, Item, Lane, Record, Value
from towline.store.base import Store
from towline.store.rows import NewCommand, Stored, Token, User

GROUP = "plant"
NOW = 1_790_000_000_000_000
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR


def device_key(n: int) -> bytes:
    return hashlib.sha256(f"key {n}".encode()).digest()


def metric(time_us: int, source: str = "system", table: str = "host", **fields: Value | str) -> Record:
    """A metric; text becomes a decimal."""
    values: dict[str, Value] = {name: Dec(value) if isinstance(value, str) else value for name, value in fields.items()}
    return Record("metric", table, source, time_us, values)


def event(time_us: int, name: str, value: Value = None, table: str = "host") -> Record:
    return Record("event", table, "system", time_us, {name: value})


async def send(
    store: Store,
    seq: int,
    items: Sequence[Item] = (),
    *,
    device: str = "d1",
    workgroup: str = GROUP,
    lane: Lane = "live",
    spool: str = "spool",
    now_us: int = NOW,
    dropped: dict[str, int] | None = None,
) -> Stored:
    return await store.records.store_batch(workgroup, device, spool, lane, seq, items, dropped or {}, now_us)


def command(n: int = 1, device: str = "d1", life_s: int = 60, key: str | None = None, **other: str) -> NewCommand:
    return NewCommand(
        id=f"{n:040x}",
        device_id=device,
        app_guid="guid",
        module="hello",
        name=other.get("name", "say_hello"),
        params=other.get("params", "[]"),
        user_id="u1",
        user_name="ada",
        created_us=NOW,
        expires_us=NOW + life_s * SECOND,
        idempotency_key=key,
    )


def user(user_id: str = "u1", name: str = "ada", *privileges: str, workgroup: str = GROUP) -> User:
    return User(
        workgroup=workgroup,
        id=user_id,
        name=name,
        display_name=name.title(),
        password_hash=f"hash of {name}",
        privileges=privileges or ("owner",),
        created_us=NOW,
    )


def token(jti: str, user_id: str = "u1", **other: object) -> Token:
    return Token(
        workgroup=GROUP,
        jti=jti,
        kind=other.get("kind", "session"),  # type: ignore[arg-type]
        user_id=user_id,
        name=jti,
        privileges=("read",),
        created_us=other.get("created_us", NOW),  # type: ignore[arg-type]
        expires_us=other.get("expires_us", NOW + HOUR),  # type: ignore[arg-type]
    )
