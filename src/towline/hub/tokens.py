# SPDX-License-Identifier: Apache-2.0
"""Tokens: JWTs with a jti in the store, for sessions and for the API. A revoked one ends at once, everywhere."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable

import jwt
import msgspec

from towline.clock import US_PER_SECOND
from towline.errors import InvalidInput, NotFound, Refused
from towline.hub import events
from towline.hub.actor import Actor
from towline.hub.core import Core
from towline.hub.identity import check_name
from towline.hub.privileges import grantable, known, permitted
from towline.hub.views import NewToken, TokenView
from towline.ids import uuid4
from towline.store.rows import Token, TokenKind, User

_ALGORITHM = "HS256"
_ISSUER = "towline"
_FRESH_S = 5.0
_CACHED = 10_000
_TOUCH_US = 60 * US_PER_SECOND
_DAY_US = 86_400 * US_PER_SECOND
_MAX_DAYS = 3650
_MAX_LENGTH = 4096


class Tokens:
    """API tokens of users, and what sessions and API tokens have in common."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._key = core.sealer.derive("towline-jwt-v1")
        self._fresh: OrderedDict[str, tuple[Actor, float]] = OrderedDict()
        self._forgotten = 0
        """How often something was forgotten: what was read before that is not believed."""

    async def create(
        self, actor: Actor, name: str, privileges: Collection[str], ttl_days: int | None = None
    ) -> NewToken:
        """A token of the actor's own with at most their own privileges. ``ttl_days`` 1–3650.

        An API token makes further ones only with manage_access: they would outlive its own end.
        """
        core = self._core
        core.check(actor, "tokens.create" if actor.kind != "token" else "tokens.create_by_token")
        name = check_name(name)
        wanted = known(frozenset(privileges))
        grantable(actor, wanted)
        days = core.settings.token_days if ttl_days is None else ttl_days
        if not 1 <= days <= _MAX_DAYS:
            raise InvalidInput("token.ttl", f"a token lives 1 to {_MAX_DAYS} days, not {days}", where="$.ttl_days")
        if not actor.user_id:
            raise Refused("token.no_user", "a token belongs to a user; sign in first")
        row, text = await self.issue(actor.workgroup, actor.user_id, "api", name, wanted, days * _DAY_US)
        await core.audit(actor, "token.create", "token", row.jti, name=name, privileges=sorted(wanted), days=days)
        return NewToken(token=text, info=_view(row, actor.name))

    async def list(self, actor: Actor) -> Views:
        """The actor's own; with manage_access those of all users. Without those that have ended.

        An API token has only itself for its own: it must not reach what its user gave to others.
        """
        core = self._core
        core.check(actor, "tokens.list")
        every = permitted(actor, "tokens.list_all")
        rows = await core.store.tokens.list(
            actor.workgroup,
            kind="api",
            user_id=None if every else actor.user_id,
            now_us=core.clock.now_us(),
        )
        if not every and actor.kind == "token":
            rows = [row for row in rows if row.jti == actor.jti]
        names = {user.id: user.name for user in await core.store.users.list(actor.workgroup)}
        return [_view(row, names.get(row.user_id, "")) for row in rows]

    async def revoke(self, actor: Actor, jti: str) -> None:
        """Own ones as :meth:`list` shows them, or any with manage_access. Sockets opened with it are closed (TokenEnded)."""
        core = self._core
        core.check(actor, "tokens.revoke")
        row = await core.store.tokens.get(jti)
        if row is None or row.workgroup != actor.workgroup or row.kind != "api":
            raise NotFound("token.unknown", f"there is no token {jti[:60]}")
        own = row.user_id == actor.user_id
        if not own or (actor.kind == "token" and row.jti != actor.jti):
            core.check(actor, "tokens.revoke_any")
        await core.store.tokens.revoke(actor.workgroup, jti, core.clock.now_us())
        self.ended(actor.workgroup, [jti])
        await core.audit(actor, "token.revoke", "token", jti, name=row.name)

    # -- for users.py and the hub ------------------------------------------------------------------------------

    async def issue(
        self, workgroup: str, user_id: str, kind: TokenKind, name: str, granted: Iterable[str], life_us: int
    ) -> tuple[Token, str]:
        """Write a token's row and sign its text."""
        core = self._core
        now_us = core.clock.now_us()
        row = await core.store.tokens.create(
            Token(
                workgroup=workgroup,
                jti=uuid4(core.random),
                kind=kind,
                user_id=user_id,
                name=name,
                privileges=tuple(sorted(granted)),
                created_us=now_us,
                expires_us=now_us + life_us,
            )
        )
        claims = {
            "iss": _ISSUER,
            "sub": user_id,
            "jti": row.jti,
            "wg": workgroup,
            "typ": kind,
            "iat": now_us // US_PER_SECOND,
            "exp": row.expires_us // US_PER_SECOND,
        }
        return row, jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    async def verify(self, token: str, ip: str) -> Actor:
        """The actor of a token. Refused ``token.invalid``, ``token.expired``, ``token.revoked``.

        What was found is believed for 5 s; a revocation is heard at once all the same (TokenEnded).
        """
        core = self._core
        now_us = core.clock.now_us()
        found = self._fresh.get(token)
        if found is not None and found[1] > core.clock.monotonic() and now_us < found[0].expires_us:
            return msgspec.structs.replace(found[0], remote=ip) if found[0].remote != ip else found[0]
        jti = self._jti(token)
        forgotten = self._forgotten
        row = await core.store.tokens.get(jti)
        if row is None:
            raise Refused("token.revoked", "the token was revoked")
        if now_us >= row.expires_us:
            raise Refused("token.expired", "the token has expired", hint="sign in again, or make a new token")
        user = await core.store.users.get(row.workgroup, row.user_id)
        if row.revoked_us is not None or user is None or user.disabled_us is not None:
            raise Refused("token.revoked", "the token was revoked")
        actor = _actor(row, user, ip)
        if row.kind == "api" and (row.last_used_us is None or now_us - row.last_used_us > _TOUCH_US):
            await core.store.tokens.touch(jti, now_us)
        if forgotten != self._forgotten:
            return actor
        self._fresh[token] = (actor, core.clock.monotonic() + _FRESH_S)
        if len(self._fresh) > _CACHED:
            self._fresh.popitem(last=False)
        return actor

    def _jti(self, token: str) -> str:
        if len(token) > _MAX_LENGTH:
            raise Refused("token.invalid", "this is no token of this installation")
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                issuer=_ISSUER,
                # The hub's own clock and the row decide about time.
                options={"verify_exp": False, "verify_iat": False, "require": ["jti", "sub", "exp"]},
            )
        except (jwt.InvalidTokenError, UnicodeEncodeError):
            raise Refused("token.invalid", "this is no token of this installation") from None
        return str(claims["jti"])

    def ended(self, workgroup: str, jtis: Iterable[str]) -> None:
        """Tokens are no longer valid: forget them, and tell the doors and the other hubs."""
        for jti in jtis:
            self.forget(jti)
            self._core.announce(events.TokenEnded(workgroup=workgroup, jti=jti))

    def forget(self, jti: str) -> None:
        """Believe nothing about a token."""
        self._forgotten += 1
        for token in [token for token, (actor, _) in self._fresh.items() if actor.jti == jti]:
            del self._fresh[token]

    def forget_user(self, user_id: str) -> None:
        """Believe nothing about a user's tokens."""
        self._forgotten += 1
        for token in [token for token, (actor, _) in self._fresh.items() if actor.user_id == user_id]:
            del self._fresh[token]


Views = list[TokenView]


def _actor(row: Token, user: User, ip: str) -> Actor:
    granted = frozenset(user.privileges)
    if row.kind == "api":
        granted = frozenset(row.privileges) & granted if "owner" not in granted else frozenset(row.privileges)
    return Actor(
        user_id=user.id,
        name=user.name,
        kind="user" if row.kind == "session" else "token",
        workgroup=row.workgroup,
        privileges=granted,
        remote=ip,
        jti=row.jti,
        expires_us=row.expires_us,
    )


def _view(row: Token, user_name: str) -> TokenView:
    return TokenView(
        jti=row.jti,
        name=row.name,
        user_id=row.user_id,
        user_name=user_name,
        privileges=list(row.privileges),
        created_us=row.created_us,
        expires_us=row.expires_us,
        revoked=row.revoked_us is not None,
    )
