# SPDX-License-Identifier: Apache-2.0
"""Users, sessions and API tokens."""

from __future__ import annotations

from collections.abc import Collection

from towline.hub.actor import Actor
from towline.hub.views import NewToken, SessionView, TokenView, UserView


class Tokens:
    """API tokens of users."""

    async def create(
        self, actor: Actor, name: str, privileges: Collection[str], ttl_days: int | None = None
    ) -> NewToken:
        """A token of the actor's own with at most their own privileges."""
        raise NotImplementedError

    async def list(self, actor: Actor) -> list[TokenView]:
        """The actor's own; with manage_access those of all users."""
        raise NotImplementedError

    async def revoke(self, actor: Actor, jti: str) -> None:
        """Own ones, or any with manage_access. Sockets opened with it are closed (TokenEnded)."""
        raise NotImplementedError


class Users:
    """Who can sign in."""

    tokens: Tokens

    async def login(self, name: str, password: str, ip: str) -> SessionView:
        """Sign in. Refused ``login.wrong`` (name and password are not told apart); Unavailable ``login.throttled``
        after too many failures, with ``retry_after_s`` in its ``hint``."""
        raise NotImplementedError

    async def verify(self, token: str, ip: str = "") -> Actor:
        """The actor of a session or API token. Refused ``token.invalid``, ``token.expired``, ``token.revoked``."""
        raise NotImplementedError

    async def session(self, actor: Actor) -> SessionView:
        """The actor's session as :meth:`login` gave it, without the token."""
        raise NotImplementedError

    async def logout(self, actor: Actor) -> None:
        """End the actor's session."""
        raise NotImplementedError

    async def change_password(self, actor: Actor, old: str, new: str) -> None:
        """The actor's own. Ends their other sessions. Refused ``login.wrong`` for a wrong ``old``."""
        raise NotImplementedError

    async def list(self, actor: Actor) -> list[UserView]:
        """All of the workgroup by name."""
        raise NotImplementedError

    async def create(
        self, actor: Actor, name: str, password: str, privileges: Collection[str], display_name: str = ""
    ) -> UserView:
        """Conflict ``user.exists``; InvalidInput ``password.*`` names the rule."""
        raise NotImplementedError

    async def update(
        self,
        actor: Actor,
        user_id: str,
        *,
        display_name: str | None = None,
        privileges: Collection[str] | None = None,
        disabled: bool | None = None,
    ) -> UserView:
        """Change what is not None. Taking privileges or disabling ends the user's sessions."""
        raise NotImplementedError

    async def set_password(self, actor: Actor, user_id: str, password: str) -> None:
        """Somebody's password; ends all their sessions."""
        raise NotImplementedError

    async def reset_password(self, actor: Actor, name: str) -> str:
        """A generated password for ``name``, for the person at the machine (``towline user reset-password``)."""
        raise NotImplementedError

    async def delete(self, actor: Actor, user_id: str) -> None:
        """Conflict ``user.last_owner`` for the last owner."""
        raise NotImplementedError
