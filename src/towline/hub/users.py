# SPDX-License-Identifier: Apache-2.0
"""Users and their sessions."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Collection, Sequence
from typing import TypeAlias

from towline.clock import US_PER_SECOND
from towline.errors import InvalidInput, NotFound, Refused, Unavailable
from towline.hub import events
from towline.hub.actor import Actor
from towline.hub.core import Core
from towline.hub.passwords import Passwords, Throttle, check_new, generate
from towline.hub.privileges import grantable, known
from towline.hub.tokens import Tokens
from towline.hub.views import SessionView, UserView
from towline.ids import uuid7
from towline.store.rows import User

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_MAX_DISPLAY = 100
_MAX_TRYING = 64
"""Sign-ins that wait for their turn."""


class Users:
    """Who can sign in."""

    def __init__(self, core: Core, passwords: Passwords) -> None:
        self._core = core
        self._passwords = passwords
        self._throttle = Throttle(core.clock, core.settings.login_attempts, core.settings.login_window_seconds)
        self._turn = asyncio.Lock()
        self._trying = 0
        self.tokens = Tokens(core)

    async def login(self, name: str, password: str, ip: str) -> SessionView:
        """Sign in. Refused ``login.wrong`` (name and password are not told apart); Unavailable ``login.throttled``
        after too many failures: its ``hint`` says in how many seconds to try again."""
        core = self._core
        candidates = [user for user in await core.store.users.named(name[:64]) if user.disabled_us is None]
        hashes: Sequence[str | None] = [user.password_hash for user in candidates] or [None]
        right = await self._try(name, ip, hashes, password)
        user = candidates[right] if right is not None and candidates else None
        if user is None:
            await self._login_failed(ip, candidates)
            raise Refused("login.wrong", "name or password is wrong")
        return await self._open_session(user, password, ip)

    async def verify(self, token: str, ip: str = "") -> Actor:
        """The actor of a session or API token. Refused ``token.invalid``, ``token.expired``, ``token.revoked``."""
        return await self.tokens.verify(token, ip)

    async def session(self, actor: Actor) -> SessionView:
        """The actor's session as :meth:`login` gave it, without the token."""
        self._core.check(actor, "users.session")
        user = await self._user(actor, actor.user_id)
        return await self._session_view(user, actor.privileges, actor.expires_us, actor.jti, "")

    async def logout(self, actor: Actor) -> None:
        """End the actor's session."""
        core = self._core
        core.check(actor, "users.logout")
        await core.store.tokens.revoke(actor.workgroup, actor.jti, core.clock.now_us())
        self.tokens.ended(actor.workgroup, [actor.jti])
        await core.audit(actor, "user.logout", "user", actor.user_id)

    async def change_password(self, actor: Actor, old: str, new: str) -> None:
        """The actor's own. Ends their other sessions. Refused ``login.wrong`` for a wrong ``old``."""
        core = self._core
        core.check(actor, "users.change_password")
        user = await self._user(actor, actor.user_id)
        if await self._try(user.name, actor.remote, [user.password_hash], old) is None:
            raise Refused("login.wrong", "the old password is wrong", where="$.old")
        check_new(new, core.settings.password_min_length, user.name, "$.new")
        await self._store_password(actor, user, new, keep_jti=actor.jti)
        await core.audit(actor, "user.change_password", "user", user.id)

    async def list(self, actor: Actor) -> Views:
        """All of the workgroup by name."""
        self._core.check(actor, "users.list")
        return [_view(user) for user in await self._core.store.users.list(actor.workgroup)]

    async def create(
        self, actor: Actor, name: str, password: str, privileges: Collection[str], display_name: str = ""
    ) -> UserView:
        """Conflict ``user.exists``; InvalidInput ``password.*`` names the rule."""
        core = self._core
        core.check(actor, "users.create")
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                "user.name",
                "a user's name has 1 to 64 letters, digits and . _ @ + -, a letter or digit first",
                where="$.name",
            )
        granted = known(frozenset(privileges))
        grantable(actor, granted)
        check_new(password, core.settings.password_min_length, name)
        now_us = core.clock.now_us()
        user = await core.store.users.create(
            User(
                workgroup=actor.workgroup,
                id=uuid7(now_us, core.random),
                name=name,
                display_name=_display(display_name) or name,
                password_hash=await self._passwords.hash(password),
                privileges=tuple(sorted(granted)),
                created_us=now_us,
                password_us=now_us,
            )
        )
        await core.audit(actor, "user.create", "user", user.id, name=name, privileges=sorted(granted))
        return _view(user)

    async def update(
        self,
        actor: Actor,
        user_id: str,
        *,
        display_name: str | None = None,
        privileges: Collection[str] | None = None,
        disabled: bool | None = None,
    ) -> UserView:
        """Change what is not None. Taking privileges or disabling ends the user's sessions; API tokens keep what is left,
        and live connections opened with them are closed (AccessChanged) to come back with it."""
        core = self._core
        core.check(actor, "users.update")
        before = await self._user(actor, user_id)
        grantable(actor, frozenset(before.privileges))
        granted = None
        if privileges is not None:
            granted = known(frozenset(privileges))
            grantable(actor, granted)
        now_us = core.clock.now_us()
        user, ended = await core.store.users.update(
            actor.workgroup,
            user_id,
            display_name=None if display_name is None else _display(display_name) or before.name,
            privileges=None if granted is None else sorted(granted),
            disabled=disabled,
            now_us=now_us,
        )
        self.tokens.forget_user(user_id)
        if granted is not None and not granted >= frozenset(before.privileges):
            ended = [
                *ended,
                *await core.store.tokens.revoke_all(actor.workgroup, user_id, now_us, kind="session"),
            ]
            core.announce(events.AccessChanged(workgroup=actor.workgroup, user_id=user_id))
        self.tokens.ended(actor.workgroup, ended)
        detail = {"privileges": None if granted is None else sorted(granted), "disabled": disabled}
        await core.audit(actor, "user.update", "user", user_id, name=user.name, **detail)
        return _view(user)

    async def set_password(self, actor: Actor, user_id: str, password: str) -> None:
        """Somebody's password; ends all their sessions."""
        core = self._core
        core.check(actor, "users.set_password")
        user = await self._user(actor, user_id)
        grantable(actor, frozenset(user.privileges))
        check_new(password, core.settings.password_min_length, user.name)
        await self._store_password(actor, user, password)
        self._throttle.lift(user.name)
        await core.audit(actor, "user.set_password", "user", user_id, name=user.name)

    async def reset_password(self, actor: Actor, name: str) -> str:
        """A generated password for ``name``, for the person at the machine (``towline user reset-password``).

        NotFound ``user.unknown``.
        """
        core = self._core
        core.check(actor, "users.set_password")
        user = await core.store.users.by_name(actor.workgroup, name)
        if user is None:
            raise NotFound("user.unknown", f"there is no user {name[:64]!r} in {actor.workgroup}")
        grantable(actor, frozenset(user.privileges))
        password = generate(core.random)
        await self._store_password(actor, user, password)
        self._throttle.lift(user.name)
        await core.audit(actor, "user.reset_password", "user", user.id, name=user.name)
        return password

    async def delete(self, actor: Actor, user_id: str) -> None:
        """Conflict ``user.last_owner`` for the last owner."""
        core = self._core
        core.check(actor, "users.delete")
        user = await self._user(actor, user_id)
        grantable(actor, frozenset(user.privileges))
        ended = await core.store.users.delete(actor.workgroup, user_id, core.clock.now_us())
        self.tokens.forget_user(user_id)
        self.tokens.ended(actor.workgroup, ended)
        await core.audit(actor, "user.delete", "user", user_id, name=user.name)

    # -- parts ---------------------------------------------------------------------------------------------------

    async def _try(self, name: str, ip: str, hashes: Sequence[str | None], password: str) -> int | None:
        """Which of ``hashes`` the password opens. One attempt after the other, so that many at once are not more
        guesses than the throttle allows."""
        self._check_throttle(name, ip)
        if self._trying >= _MAX_TRYING:
            raise Unavailable("login.busy", "too many sign-ins at once", hint="try again in a few seconds")
        self._trying += 1
        try:
            async with self._turn:
                self._check_throttle(name, ip)
                right = [await self._passwords.verify(stored, password[:1024]) for stored in hashes]
                if True in right:
                    self._throttle.succeeded(name, ip)
                    return right.index(True)
                self._throttle.failed(name, ip)
                return None
        finally:
            self._trying -= 1

    def _check_throttle(self, name: str, ip: str) -> None:
        wait = self._throttle.wait_s(name, ip)
        if wait > 0:
            self._core.counters["users.login_throttled"] += 1
            raise Unavailable(
                "login.throttled",
                "too many failed sign-ins",
                hint=f"try again in {math.ceil(wait)} seconds",
            )

    async def _login_failed(self, ip: str, candidates: Collection[User]) -> None:
        self._core.counters["users.login_failed"] += 1
        for user in candidates:
            actor = Actor(
                user_id=user.id,
                name=user.name,
                kind="user",
                workgroup=user.workgroup,
                privileges=frozenset(),
                remote=ip,
            )
            await self._core.audit(actor, "user.login_failed", "user", user.id)

    async def _open_session(self, user: User, password: str, ip: str) -> SessionView:
        core = self._core
        fresh = await self._passwords.renewed(user.password_hash, password)
        if fresh is not None:
            await core.store.users.set_hash(user.workgroup, user.id, user.password_hash, fresh)
        life_us = core.settings.session_hours * 3600 * US_PER_SECOND
        row, text = await self.tokens.issue(user.workgroup, user.id, "session", "session", user.privileges, life_us)
        await core.store.users.note_login(user.workgroup, user.id, core.clock.now_us())
        granted = frozenset(user.privileges)
        actor = Actor(
            user_id=user.id, name=user.name, kind="user", workgroup=user.workgroup, privileges=granted, remote=ip
        )
        await core.audit(actor, "user.login", "user", user.id)
        core.counters["users.logins"] += 1
        return await self._session_view(user, granted, row.expires_us, row.jti, text)

    async def _session_view(
        self, user: User, granted: frozenset[str], expires_us: int, jti: str, token: str
    ) -> SessionView:
        workgroup = await self._core.store.workgroups.get(user.workgroup)
        return SessionView(
            user_id=user.id,
            user_name=user.name,
            display_name=user.display_name,
            workgroup=user.workgroup,
            workgroup_name=workgroup.name if workgroup is not None else user.workgroup,
            privileges=sorted(granted),
            expires_us=expires_us,
            jti=jti,
            token=token,
        )

    async def _store_password(self, actor: Actor, user: User, password: str, keep_jti: str | None = None) -> None:
        core = self._core
        hashed = await self._passwords.hash(password)
        ended = await core.store.users.set_password(
            user.workgroup, user.id, hashed, core.clock.now_us(), keep_jti=keep_jti
        )
        self.tokens.ended(user.workgroup, ended)

    async def _user(self, actor: Actor, user_id: str) -> User:
        user = await self._core.store.users.get(actor.workgroup, user_id)
        if user is None:
            raise NotFound("user.unknown", f"there is no user {user_id[:60]}")
        return user


Views: TypeAlias = list[UserView]


def _display(text: str) -> str:
    text = text.strip()
    if len(text) > _MAX_DISPLAY or not text.isprintable():
        raise InvalidInput(
            "name.invalid", f"a display name has up to {_MAX_DISPLAY} visible characters", where="$.display_name"
        )
    return text


def _view(user: User) -> UserView:
    return UserView(
        id=user.id,
        name=user.name,
        display_name=user.display_name,
        privileges=list(user.privileges),
        created_us=user.created_us,
        disabled=user.disabled_us is not None,
        last_login_us=user.last_login_us or 0,
        password_us=user.password_us,
    )
