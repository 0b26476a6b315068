# SPDX-License-Identifier: Apache-2.0
"""Enrolments in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from towline.errors import Conflict, NotFound, Refused
from towline.store.rows import DEFAULT_GROUP, Device, Enrolment, Facts, Redeemed
from towline.store.sqlite.access import Access, check_limit
from towline.store.sqlite.devices import (
    change_device,
    check_workgroup,
    create_device,
    device_with_key,
    find_device,
)

_SELECT: Final = (
    "SELECT workgroup, id, token_hash, name, created_us, created_by, expires_us, revoked_us, redeemed_us, device_id,"
    " public_key FROM enrolment"
)


def _enrolment(row: Sequence[Any]) -> Enrolment:
    return Enrolment(
        workgroup=row[0],
        id=row[1],
        token_hash=row[2],
        name=row[3],
        created_us=row[4],
        created_by=row[5],
        expires_us=row[6],
        revoked_us=row[7],
        redeemed_us=row[8],
        device_id=row[9],
        public_key=row[10],
    )


def _find(connection: sqlite3.Connection, where: str, *values: Any) -> Enrolment:
    row = connection.execute(f"{_SELECT} WHERE {where}", values).fetchone()
    if row is None:
        raise NotFound("enrolment.unknown", "there is no such enrolment")
    return _enrolment(row)


class SqliteEnrolments:
    """Fulfils :class:`towline.store.base.EnrolmentStore`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def create(self, enrolment: Enrolment) -> Enrolment:
        def work(connection: sqlite3.Connection) -> Enrolment:
            check_workgroup(connection, enrolment.workgroup)
            if connection.execute(
                "SELECT 1 FROM enrolment WHERE token_hash = ? OR (workgroup = ? AND id = ?)",
                (enrolment.token_hash, enrolment.workgroup, enrolment.id),
            ).fetchone():
                raise Conflict("enrolment.exists", "there is an enrolment with this id or token already")
            connection.execute(
                "INSERT INTO enrolment (token_hash, workgroup, id, name, created_us, created_by, expires_us)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    enrolment.token_hash,
                    enrolment.workgroup,
                    enrolment.id,
                    enrolment.name,
                    enrolment.created_us,
                    enrolment.created_by,
                    enrolment.expires_us,
                ),
            )
            return enrolment

        return await self._access.write(work)

    async def get(self, workgroup: str, enrolment_id: str) -> Enrolment | None:
        def query(connection: sqlite3.Connection) -> Enrolment | None:
            row = connection.execute(f"{_SELECT} WHERE workgroup = ? AND id = ?", (workgroup, enrolment_id)).fetchone()
            return None if row is None else _enrolment(row)

        return await self._access.read(query)

    async def list(self, workgroup: str, limit: int = 100) -> list[Enrolment]:
        check_limit(limit)
        return await self._access.read(
            lambda connection: [
                _enrolment(row)
                for row in connection.execute(
                    f"{_SELECT} WHERE workgroup = ? ORDER BY created_us DESC, id DESC LIMIT ?",
                    (workgroup, limit),
                )
            ]
        )

    async def revoke(self, workgroup: str, enrolment_id: str, now_us: int) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            enrolment = _find(connection, "workgroup = ? AND id = ?", workgroup, enrolment_id)
            if enrolment.device_id is not None:
                raise Conflict("enrolment.used", "it was redeemed; revoke the device instead")
            if enrolment.revoked_us is not None:
                return False
            connection.execute(
                "UPDATE enrolment SET revoked_us = ? WHERE workgroup = ? AND id = ?",
                (now_us, workgroup, enrolment_id),
            )
            return True

        return await self._access.write(work)

    async def redeem(
        self, token_hash: bytes, public_key: bytes, device_id: str, name: str, facts: Facts, now_us: int
    ) -> Redeemed:
        def work(connection: sqlite3.Connection) -> Redeemed:
            enrolment = _find(connection, "token_hash = ?", token_hash)
            if enrolment.device_id is not None:
                return _again(connection, enrolment, public_key)
            _check_open(enrolment, now_us)
            device = device_with_key(connection, enrolment.workgroup, public_key)
            new = device is None
            if device is None:
                device = create_device(
                    connection,
                    Device(
                        workgroup=enrolment.workgroup,
                        id=device_id,
                        name=enrolment.name or name,
                        group=DEFAULT_GROUP,
                        public_key=public_key,
                        created_us=now_us,
                        facts=facts,
                    ),
                )
            elif device.revoked_us is not None:
                device = change_device(connection, msgspec.structs.replace(device, revoked_us=None))
            connection.execute(
                "UPDATE enrolment SET redeemed_us = ?, device_id = ?, public_key = ? WHERE token_hash = ?",
                (now_us, device.id, public_key, token_hash),
            )
            return Redeemed(device=device, enrolment=_find(connection, "token_hash = ?", token_hash), new=new)

        return await self._access.write(work)

    async def sweep(self, before_us: int, limit: int = 1000) -> int:
        return await self._access.write(
            lambda connection: (
                connection.execute(
                    "DELETE FROM enrolment WHERE (token_hash, workgroup) IN"
                    " (SELECT token_hash, workgroup FROM enrolment WHERE expires_us < ? LIMIT ?)",
                    (before_us, limit),
                ).rowcount
            )
        )


def _again(connection: sqlite3.Connection, enrolment: Enrolment, public_key: bytes) -> Redeemed:
    """A token that was redeemed: good for the same key only, while its device exists and is not revoked."""
    used = Refused("enrolment.used", "this enrolment was used by another device", hint="make a new enrolment line")
    if enrolment.public_key != public_key or enrolment.device_id is None:
        raise used
    try:
        device = find_device(connection, enrolment.workgroup, enrolment.device_id)
    except NotFound:
        raise used from None
    if device.revoked_us is not None:
        raise Refused("enrolment.revoked", "the device that used this enrolment was revoked")
    return Redeemed(device=device, enrolment=enrolment, new=False)


def _check_open(enrolment: Enrolment, now_us: int) -> None:
    if enrolment.revoked_us is not None:
        raise Refused("enrolment.revoked", "this enrolment was revoked", hint="make a new enrolment line")
    if now_us >= enrolment.expires_us:
        raise Refused("enrolment.expired", "this enrolment has expired", hint="make a new enrolment line")
