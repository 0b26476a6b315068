# SPDX-License-Identifier: Apache-2.0
"""Users and tokens in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from towline.errors import Conflict, NotFound
from towline.store.base.people import Jtis, Tokens
from towline.store.rows import Token, TokenKind, User
from towline.store.sqlite.access import Access
from towline.store.sqlite.devices import check_workgroup

OWNER: Final = "owner"
_SELECT_USER: Final = (
    "SELECT workgroup, id, name, display_name, password_hash, privileges, created_us, disabled_us, last_login_us,"
    " password_us FROM user"
)
_SELECT_JTI: Final = (
    "SELECT workgroup, jti, kind, user_id, name, privileges, created_us, expires_us, revoked_us, last_used_us"
    " FROM token"
)


def _user(row: Sequence[Any]) -> User:
    return User(
        workgroup=row[0],
        id=row[1],
        name=row[2],
        display_name=row[3],
        password_hash=row[4],
        privileges=tuple(json.loads(row[5])),
        created_us=row[6],
        disabled_us=row[7],
        last_login_us=row[8],
        password_us=row[9],
    )


def _token(row: Sequence[Any]) -> Token:
    return Token(
        workgroup=row[0],
        jti=row[1],
        kind=row[2],
        user_id=row[3],
        name=row[4],
        privileges=tuple(json.loads(row[5])),
        created_us=row[6],
        expires_us=row[7],
        revoked_us=row[8],
        last_used_us=row[9],
    )


def _find_user(connection: sqlite3.Connection, workgroup: str, user_id: str) -> User:
    row = connection.execute(f"{_SELECT_USER} WHERE workgroup = ? AND id = ?", (workgroup, user_id)).fetchone()
    if row is None:
        raise NotFound("user.unknown", f"there is no user {user_id}")
    return _user(row)


def _revoke(
    connection: sqlite3.Connection,
    workgroup: str,
    user_id: str,
    now_us: int,
    *,
    kind: str | None = None,
    keep: str | None = None,
) -> Jtis:
    """Revoke a user's valid tokens; their jti."""
    where = "workgroup = ? AND user_id = ? AND revoked_us IS NULL AND expires_us > ?"
    values: list[Any] = [workgroup, user_id, now_us]
    if kind is not None:
        where += " AND kind = ?"
        values.append(kind)
    if keep is not None:
        where += " AND jti <> ?"
        values.append(keep)
    jtis = [row[0] for row in connection.execute(f"SELECT jti FROM token WHERE {where}", values)]
    connection.execute(f"UPDATE token SET revoked_us = ? WHERE {where}", [now_us, *values])
    return jtis


def _keep_an_owner(connection: sqlite3.Connection, user: User) -> None:
    """``user`` stops being an enabled owner: somebody else must be one. Conflict ``user.last_owner``."""
    if OWNER not in user.privileges or user.disabled_us is not None:
        return
    others = connection.execute(
        "SELECT privileges FROM user WHERE workgroup = ? AND id <> ? AND disabled_us IS NULL",
        (user.workgroup, user.id),
    )
    if not any(OWNER in json.loads(row[0]) for row in others):
        raise Conflict("user.last_owner", "a workgroup keeps at least one owner that can sign in")


class SqliteUsers:
    """Fulfils :class:`towline.store.base.UserStore`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def create(self, user: User) -> User:
        def work(connection: sqlite3.Connection) -> User:
            check_workgroup(connection, user.workgroup)
            if connection.execute(
                "SELECT 1 FROM user WHERE workgroup = ? AND (sort = ? OR id = ?)",
                (user.workgroup, user.name.casefold(), user.id),
            ).fetchone():
                raise Conflict("user.exists", f"there is a user {user.name} already", where="name")
            connection.execute(
                "INSERT INTO user (workgroup, id, name, sort, display_name, password_hash, privileges, created_us,"
                " disabled_us, last_login_us, password_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    user.workgroup,
                    user.id,
                    user.name,
                    user.name.casefold(),
                    user.display_name,
                    user.password_hash,
                    json.dumps(user.privileges),
                    user.created_us,
                    user.disabled_us,
                    user.last_login_us,
                    user.password_us,
                ),
            )
            return user

        return await self._access.write(work)

    async def get(self, workgroup: str, user_id: str) -> User | None:
        found = await self._select("workgroup = ? AND id = ?", workgroup, user_id)
        return found[0] if found else None

    async def by_name(self, workgroup: str, name: str) -> User | None:
        found = await self._select("sort = ? AND workgroup = ?", name.casefold(), workgroup)
        return found[0] if found else None

    async def named(self, name: str) -> list[User]:
        return await self._select("sort = ? ORDER BY workgroup", name.casefold())

    async def _select(self, where: str, *values: str) -> list[User]:
        return await self._access.read(
            lambda connection: [_user(row) for row in connection.execute(f"{_SELECT_USER} WHERE {where}", values)]
        )

    async def update(
        self,
        workgroup: str,
        user_id: str,
        *,
        display_name: str | None = None,
        privileges: Sequence[str] | None = None,
        disabled: bool | None = None,
        now_us: int,
    ) -> tuple[User, Jtis]:
        def work(connection: sqlite3.Connection) -> tuple[User, Jtis]:
            before = user = _find_user(connection, workgroup, user_id)
            if display_name is not None:
                user = msgspec.structs.replace(user, display_name=display_name)
            if privileges is not None:
                user = msgspec.structs.replace(user, privileges=tuple(privileges))
            if disabled is not None and disabled != (user.disabled_us is not None):
                user = msgspec.structs.replace(user, disabled_us=now_us if disabled else None)
            if OWNER not in user.privileges or user.disabled_us is not None:
                _keep_an_owner(connection, before)
            connection.execute(
                "UPDATE user SET display_name = ?, privileges = ?, disabled_us = ? WHERE workgroup = ? AND id = ?",
                (user.display_name, json.dumps(user.privileges), user.disabled_us, workgroup, user_id),
            )
            gone = user.disabled_us is not None and before.disabled_us is None
            return user, _revoke(connection, workgroup, user_id, now_us) if gone else []

        return await self._access.write(work)

    async def set_password(
        self, workgroup: str, user_id: str, password_hash: str, now_us: int, *, keep_jti: str | None = None
    ) -> Jtis:
        def work(connection: sqlite3.Connection) -> Jtis:
            _find_user(connection, workgroup, user_id)
            connection.execute(
                "UPDATE user SET password_hash = ?, password_us = ? WHERE workgroup = ? AND id = ?",
                (password_hash, now_us, workgroup, user_id),
            )
            return _revoke(connection, workgroup, user_id, now_us, kind="session", keep=keep_jti)

        return await self._access.write(work)

    async def set_hash(self, workgroup: str, user_id: str, old: str, new: str) -> bool:
        return await self._access.write(
            lambda connection: (
                connection.execute(
                    "UPDATE user SET password_hash = ? WHERE workgroup = ? AND id = ? AND password_hash = ?",
                    (new, workgroup, user_id, old),
                ).rowcount
                > 0
            )
        )

    async def note_login(self, workgroup: str, user_id: str, now_us: int) -> None:
        await self._access.write(
            lambda connection: connection.execute(
                "UPDATE user SET last_login_us = ? WHERE workgroup = ? AND id = ?",
                (now_us, workgroup, user_id),
            )
        )

    async def delete(self, workgroup: str, user_id: str, now_us: int) -> Jtis:
        def work(connection: sqlite3.Connection) -> Jtis:
            _keep_an_owner(connection, _find_user(connection, workgroup, user_id))
            connection.execute("DELETE FROM user WHERE workgroup = ? AND id = ?", (workgroup, user_id))
            return _revoke(connection, workgroup, user_id, now_us)

        return await self._access.write(work)

    async def list(self, workgroup: str) -> list[User]:
        return await self._select("workgroup = ? ORDER BY sort", workgroup)


class SqliteTokens:
    """Fulfils :class:`towline.store.base.TokenStore`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def create(self, token: Token) -> Token:
        def work(connection: sqlite3.Connection) -> Token:
            _find_user(connection, token.workgroup, token.user_id)
            if connection.execute("SELECT 1 FROM token WHERE jti = ?", (token.jti,)).fetchone():
                raise Conflict("token.exists", "there is a token with this jti already")
            connection.execute(
                "INSERT INTO token (jti, workgroup, kind, user_id, name, privileges, created_us, expires_us, revoked_us,"
                " last_used_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    token.jti,
                    token.workgroup,
                    token.kind,
                    token.user_id,
                    token.name,
                    json.dumps(token.privileges),
                    token.created_us,
                    token.expires_us,
                    token.revoked_us,
                    token.last_used_us,
                ),
            )
            return token

        return await self._access.write(work)

    async def get(self, jti: str) -> Token | None:
        found = await self._select("jti = ?", jti)
        return found[0] if found else None

    async def _select(self, where: str, *values: Any) -> Tokens:
        return await self._access.read(
            lambda connection: [_token(row) for row in connection.execute(f"{_SELECT_JTI} WHERE {where}", values)]
        )

    async def touch(self, jti: str, now_us: int) -> None:
        await self._access.write(
            lambda connection: connection.execute(
                "UPDATE token SET last_used_us = max(coalesce(last_used_us, 0), ?) WHERE jti = ?",
                (now_us, jti),
            )
        )

    async def revoke(self, workgroup: str, jti: str, now_us: int) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            whose = (jti, workgroup)
            row = connection.execute("SELECT revoked_us FROM token WHERE jti = ? AND workgroup = ?", whose).fetchone()
            if row is None:
                raise NotFound("token.unknown", f"there is no token {jti}")
            if row[0] is not None:
                return False
            connection.execute("UPDATE token SET revoked_us = ? WHERE jti = ? AND workgroup = ?", (now_us, *whose))
            return True

        return await self._access.write(work)

    async def revoke_all(self, workgroup: str, user_id: str, now_us: int, *, kind: TokenKind | None = None) -> Jtis:
        return await self._access.write(lambda connection: _revoke(connection, workgroup, user_id, now_us, kind=kind))

    async def expired(self, since_us: int, now_us: int) -> Tokens:
        return await self._select(
            "expires_us >= ? AND expires_us < ? AND revoked_us IS NULL ORDER BY expires_us", since_us, now_us
        )

    async def sweep(self, before_us: int, limit: int = 1000) -> int:
        return await self._access.write(
            lambda connection: (
                connection.execute(
                    "DELETE FROM token WHERE (jti, workgroup) IN (SELECT jti, workgroup FROM token"
                    " WHERE expires_us < ? OR revoked_us < ? LIMIT ?)",
                    (before_us, before_us, limit),
                ).rowcount
            )
        )

    async def list(
        self,
        workgroup: str,
        *,
        kind: TokenKind | None = None,
        user_id: str | None = None,
        now_us: int | None = None,
    ) -> Tokens:
        where, values = "workgroup = ?", [workgroup]
        if kind is not None:
            where += " AND kind = ?"
            values.append(kind)
        if user_id is not None:
            where += " AND user_id = ?"
            values.append(user_id)
        found = await self._select(f"{where} ORDER BY created_us DESC, jti", *values)
        return found if now_us is None else [token for token in found if token.valid(now_us)]
