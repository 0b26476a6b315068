# SPDX-License-Identifier: Apache-2.0
"""Users, tokens, enrolments, settings, the audit log and leases."""

from __future__ import annotations

from towline.store.rows.common import Row, TokenKind
from towline.store.rows.devices import Device


class User(Row, frozen=True, kw_only=True):
    """A person who can sign in. ``name`` is unique in a workgroup whatever its case. ``password_hash`` is a PHC string."""

    workgroup: str
    id: str
    name: str
    display_name: str
    password_hash: str
    privileges: tuple[str, ...]
    created_us: int
    disabled_us: int | None = None
    last_login_us: int | None = None
    password_us: int = 0


class Token(Row, frozen=True, kw_only=True):
    """A session, API or device token, known by its ``jti``; the token itself is never stored."""

    workgroup: str
    jti: str
    kind: TokenKind
    user_id: str
    name: str
    privileges: tuple[str, ...]
    created_us: int
    expires_us: int
    revoked_us: int | None = None
    last_used_us: int | None = None

    def valid(self, now_us: int) -> bool:
        """Whether it opens anything at ``now_us``."""
        return self.revoked_us is None and now_us < self.expires_us


class Enrolment(Row, frozen=True, kw_only=True):
    """A one-time invitation for a device. ``token_hash`` is the SHA-256 of its token (32 bytes).

    Redeemed when ``device_id`` is set.
    """

    workgroup: str
    id: str
    token_hash: bytes
    name: str | None
    created_us: int
    created_by: str
    expires_us: int
    revoked_us: int | None = None
    redeemed_us: int | None = None
    device_id: str | None = None
    public_key: bytes | None = None


class Redeemed(Row, frozen=True, kw_only=True):
    """``new``: the device was created now; False when the same key redeemed again or was enrolled before."""

    device: Device
    enrolment: Enrolment
    new: bool


class AuditEntry(Row, frozen=True, kw_only=True):
    """Who did what to which thing. ``detail`` is JSON text of an object. ``id`` is given by the store (0 before)."""

    workgroup: str
    time_us: int
    user_id: str
    user_name: str
    action: str
    entity: str
    entity_id: str
    detail: str = "{}"
    address: str = ""
    id: int = 0


class Setting(Row, frozen=True, kw_only=True):
    """A setting. ``version`` counts its writes from 1; ``value`` is bytes of the owner's choosing (mostly JSON)."""

    workgroup: str
    key: str
    value: bytes
    version: int
    updated_us: int
    updated_by: str


class Lease(Row, frozen=True, kw_only=True):
    """Who may sweep, compact or notify until ``expires_us``."""

    name: str
    owner: str
    expires_us: int
