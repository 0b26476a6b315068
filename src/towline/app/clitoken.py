# SPDX-License-Identifier: Apache-2.0
"""The token of this machine's own command line: left in the data directory, and never allowed to end.

It is the way back in for whoever sits at the machine, so it is made anew long before its time is over, and when somebody
revoked it or its user is no owner any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

import jwt
import msgspec

from towline.app.plan import write_private
from towline.clock import Clock
from towline.errors import TowlineError
from towline.hub.actor import Actor
from towline.hub.hub import Hub
from towline.hub.views import UserView

CLI_TOKEN_NAME = "command line on this machine"  # noqa: S105 - a label
CLI_TOKEN_DAYS = 30
LOOK_S = 10.0

logger = logging.getLogger("towline.app")


class CliToken:
    """``cli-token`` in ``data``, readable by its owner only."""

    def __init__(self, hub: Hub, clock: Clock, workgroup: str, data: Path) -> None:
        self._hub = hub
        self._clock = clock
        self._system = Actor.system(workgroup)
        self._path = data / "cli-token"

    async def begin(self) -> None:
        """A new one in place of all that former starts left."""
        tokens = self._hub.users.tokens
        for old in await tokens.list(self._system):
            if old.name == CLI_TOKEN_NAME:
                await tokens.revoke(self._system, old.jti)
        await self._make()

    async def keep(self) -> None:
        """Look after it, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except (TowlineError, OSError) as error:
                logger.warning("the token of this machine's command line could not be looked after: %s", error)

    async def look(self) -> None:
        """Make a new one unless the one that is there is good for a while. The former stays valid for its time: a command
        that runs may still use it."""
        if not await self._good():
            await self._make()

    async def _good(self) -> bool:
        jti = self._jti()
        found = next((one for one in await self._hub.users.tokens.list(self._system) if one.jti == jti), None)
        if found is None or self._clock.now_us() >= (found.created_us + found.expires_us) // 2:
            return False
        return any(user.id == found.user_id for user in await self._owners())

    async def _make(self) -> None:
        owner = next(iter(await self._owners()), None)
        if owner is None:
            return  # nobody may everything any more; then this machine's owner may sign in like others
        actor = msgspec.structs.replace(self._system, user_id=owner.id, name=owner.name)
        made = await self._hub.users.tokens.create(actor, CLI_TOKEN_NAME, ["owner"], CLI_TOKEN_DAYS)
        write_private(self._path, made.token.encode() + b"\n")

    async def _owners(self) -> list[UserView]:
        users = await self._hub.users.list(self._system)
        return [user for user in users if "owner" in user.privileges and not user.disabled]

    def _jti(self) -> str:
        """What the file holds; '' for nothing that is a token. It only says which row to look at."""
        with contextlib.suppress(OSError, ValueError, jwt.InvalidTokenError):
            text = self._path.read_text("ascii").strip()
            return str(jwt.decode(text, options={"verify_signature": False}).get("jti", ""))
        return ""
