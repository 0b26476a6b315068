# SPDX-License-Identifier: Apache-2.0
"""Users, tokens, enrolments, settings, audit, leases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from towline.store.rows import AuditEntry, Enrolment, Facts, Lease, Redeemed, Setting, Token, TokenKind, User

Jtis: TypeAlias = list[str]
"""Ids of tokens."""

Tokens: TypeAlias = list[Token]


class UserStore(Protocol):
    """People. A workgroup that has an enabled user with privilege ``owner`` keeps at least one:
    Conflict ``user.last_owner`` otherwise."""

    async def create(self, user: User) -> User:
        """Conflict ``user.exists`` (name, its case ignored); NotFound ``workgroup.unknown``."""
        ...

    async def get(self, workgroup: str, user_id: str) -> User | None: ...

    async def by_name(self, workgroup: str, name: str) -> User | None:
        """Its case ignored."""
        ...

    async def named(self, name: str) -> list[User]:
        """In all workgroups (a login that does not say which)."""
        ...

    async def list(self, workgroup: str) -> list[User]:
        """By name."""
        ...

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
        """What is None stays. The user, and the jti of tokens revoked by it (all when disabled).
        NotFound ``user.unknown``; Conflict ``user.last_owner``."""
        ...

    async def set_password(
        self, workgroup: str, user_id: str, password_hash: str, now_us: int, *, keep_jti: str | None = None
    ) -> Jtis:
        """Also revokes the user's sessions except ``keep_jti``; the revoked jti. NotFound ``user.unknown``."""
        ...

    async def set_hash(self, workgroup: str, user_id: str, old: str, new: str) -> bool:
        """Replace the hash if it still is ``old`` (stronger parameters at login); nothing is revoked."""
        ...

    async def note_login(self, workgroup: str, user_id: str, now_us: int) -> None: ...

    async def delete(self, workgroup: str, user_id: str, now_us: int) -> Jtis:
        """Also revokes all the user's tokens; the revoked jti. NotFound ``user.unknown``; Conflict ``user.last_owner``."""
        ...


class TokenStore(Protocol):
    """Sessions, API and device tokens by their jti."""

    async def create(self, token: Token) -> Token:
        """Conflict ``token.exists`` (jti); NotFound ``user.unknown``."""
        ...

    async def get(self, jti: str) -> Token | None:
        """Whatever its state: see :meth:`Token.valid`. A jti is unique in the whole store."""
        ...

    async def list(
        self,
        workgroup: str,
        *,
        kind: TokenKind | None = None,
        user_id: str | None = None,
        now_us: int | None = None,
    ) -> Tokens:
        """Newest first. With ``now_us`` only those valid then."""
        ...

    async def touch(self, jti: str, now_us: int) -> None:
        """Note its use."""
        ...

    async def revoke(self, workgroup: str, jti: str, now_us: int) -> bool:
        """False if it was revoked already. NotFound ``token.unknown``."""
        ...

    async def revoke_all(self, workgroup: str, user_id: str, now_us: int, *, kind: TokenKind | None = None) -> Jtis:
        """The jti that this revoked."""
        ...

    async def expired(self, since_us: int, now_us: int) -> Tokens:
        """Not revoked, with ``since_us`` ≤ expiry < ``now_us``: their open sockets are to be closed."""
        ...

    async def sweep(self, before_us: int, limit: int = 1000) -> int:
        """Remove those that ended before ``before_us``. How many."""
        ...


class EnrolmentStore(Protocol):
    """One-time invitations for devices, found by the SHA-256 of their token."""

    async def create(self, enrolment: Enrolment) -> Enrolment:
        """NotFound ``workgroup.unknown``; Conflict ``enrolment.exists``."""
        ...

    async def get(self, workgroup: str, enrolment_id: str) -> Enrolment | None: ...

    async def list(self, workgroup: str, limit: int = 100) -> list[Enrolment]:
        """Newest first."""
        ...

    async def revoke(self, workgroup: str, enrolment_id: str, now_us: int) -> bool:
        """False if revoked already. NotFound ``enrolment.unknown``; Conflict ``enrolment.used`` if redeemed."""
        ...

    async def redeem(
        self, token_hash: bytes, public_key: bytes, device_id: str, name: str, facts: Facts, now_us: int
    ) -> Redeemed:
        """The device of this key, created with id ``device_id`` in group ``default`` if it is new.

        The same key again answers the same device, also after expiry. A key that its workgroup knows already brings back
        that device (and lifts its revocation). The enrolment's own name goes before ``name``.
        NotFound ``enrolment.unknown``; Refused ``enrolment.expired``, ``enrolment.revoked``, ``enrolment.used`` (by
        another key).
        """
        ...

    async def sweep(self, before_us: int, limit: int = 1000) -> int:
        """Remove those that expired before ``before_us``. How many."""
        ...


class SettingStore(Protocol):
    """Key and value with a version. Workgroup :data:`towline.store.rows.SYSTEM` holds the installation's own."""

    async def get(self, workgroup: str, key: str) -> Setting | None: ...

    async def list(self, workgroup: str, prefix: str = "") -> list[Setting]:
        """By key."""
        ...

    async def put(
        self,
        workgroup: str,
        key: str,
        value: bytes,
        now_us: int,
        *,
        expected: int | None = None,
        by: str = "",
    ) -> Setting:
        """Write. ``expected``: the version it must have now, 0 for "must not exist", None for whatever it is.
        Conflict ``setting.version``."""
        ...

    async def delete(self, workgroup: str, key: str, *, expected: int | None = None) -> bool:
        """False if there was none. Conflict ``setting.version``."""
        ...


class AuditStore(Protocol):
    """Who did what; only ever appended to."""

    async def append(self, entry: AuditEntry) -> AuditEntry:
        """Answers the entry with its id."""
        ...

    async def list(
        self,
        workgroup: str,
        *,
        limit: int = 100,
        before: int | None = None,
        entity: str | None = None,
        entity_id: str | None = None,
    ) -> list[AuditEntry]:
        """Highest id first, with id < ``before``. ``limit`` 1–1000."""
        ...


class LeaseStore(Protocol):
    """Work that only one hub does at a time: sweeping, retention, compaction, expiry, notifications."""

    async def take(self, name: str, owner: str, ttl_us: int, now_us: int) -> bool:
        """Get or renew the lease until ``now_us + ttl_us``. False: another owner holds it."""
        ...

    async def release(self, name: str, owner: str) -> bool:
        """False if it was not ``owner``'s."""
        ...

    async def get(self, name: str) -> Lease | None:
        """Who holds it; it may have expired."""
        ...
