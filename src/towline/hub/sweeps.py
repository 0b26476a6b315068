# SPDX-License-Identifier: Apache-2.0
"""What the hub does by itself, now and then. Work on the store runs under a lease, so one of several hubs does it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from towline.clock import US_PER_SECOND
from towline.errors import TowlineError
from towline.hub.commands import Commands
from towline.hub.core import Core, log
from towline.hub.links import Links
from towline.hub.presence import Presence
from towline.hub.tokens import Tokens

LEASE = "hub.sweeps"
_LEASE_S = 15
_RENEW_S = 5.0
_DAY_US = 86_400 * US_PER_SECOND
_COMPACT_AGE_US = 600 * US_PER_SECOND
_PORTION = 500
_PORTIONS = 20
"""Portions of one sweep before others get their turn."""


class _Job(NamedTuple):
    name: str
    every_s: float
    run: Callable[[], Awaitable[object]]
    leased: bool


class Sweeps:
    """The background work of one hub."""

    def __init__(self, core: Core, links: Links, presence: Presence, commands: Commands, tokens: Tokens) -> None:
        self._core = core
        self._links = links
        self._presence = presence
        self._tokens = tokens
        self._expired_until = core.clock.now_us()
        self._leased = False
        self._lease_due = 0.0
        self._jobs = [
            _Job("command expiry", 1.0, commands.expire, True),
            _Job("commands without answer", 5.0, commands.give_up, True),
            _Job("commands under way", 5.0, commands.nudge, False),
            _Job("ended tokens", 2.0, self.end_tokens, True),
            _Job("roster check", 10.0, self.check_rosters, False),
            _Job("flags", 60.0, presence.sweep_flags, False),
            _Job("compaction", 60.0, self.compact, True),
            _Job("retention", 3600.0, self.retain, True),
        ]
        self._due: dict[str, float] = {}

    async def run(self) -> None:
        """For ever, once a second; a job that fails is logged, counted and tried again at its next turn."""
        start = self._core.clock.monotonic()
        self._due = {job.name: start + min(job.every_s, 30.0) for job in self._jobs}
        while True:
            await asyncio.sleep(1.0)
            await self.turn()

    async def turn(self) -> None:
        """One look at what is due."""
        now = self._core.clock.monotonic()
        for job in self._jobs:
            if self._due.get(job.name, 0.0) > now:
                continue
            self._due[job.name] = now + job.every_s
            try:
                if not job.leased or await self._lease(now):
                    await job.run()
            except TowlineError as error:
                self._core.counters["sweeps.failed"] += 1
                log.warning("%s failed: %s", job.name, error)
            except Exception:
                self._core.counters["sweeps.failed"] += 1
                log.exception("%s failed", job.name)

    async def release(self) -> None:
        """Let another hub go on at once."""
        if self._leased:
            self._leased = False
            await self._core.store.leases.release(LEASE, self._core.endpoint.address)

    async def _lease(self, now: float) -> bool:
        if now >= self._lease_due:
            core = self._core
            self._leased = await core.store.leases.take(
                LEASE, core.endpoint.address, _LEASE_S * US_PER_SECOND, core.clock.now_us()
            )
            self._lease_due = now + _RENEW_S
        return self._leased

    async def end_tokens(self) -> None:
        """Tokens that have expired: sockets opened with them are closed."""
        now_us = self._core.clock.now_us()
        for token in await self._core.store.tokens.expired(self._expired_until, now_us):
            self._tokens.ended(token.workgroup, [token.jti])
        self._expired_until = now_us

    async def check_rosters(self) -> None:
        """Compare with what nodes hold: a message about a link may have been lost."""
        if not self._links.verifying:
            self._links.rosters.ask_all()

    async def compact(self) -> None:
        """Join small blocks of records that are some minutes old."""
        before_us = self._core.clock.now_us() - _COMPACT_AGE_US
        for _ in range(_PORTIONS):
            if not await self._core.store.records.compact(before_us, _PORTION):
                return

    async def retain(self) -> None:
        """Remove what is older than the settings say."""
        core, settings = self._core, self._core.settings
        now_us = core.clock.now_us()
        records_us = now_us - settings.records_days * _DAY_US
        for workgroup in await core.store.workgroups.list():
            await self._portions(lambda: core.store.records.sweep(workgroup.id, records_us, _PORTION))  # noqa: B023
        commands_us = now_us - settings.commands_days * _DAY_US
        await self._portions(lambda: core.store.ledger.sweep(commands_us, _PORTION))
        await self._portions(lambda: core.store.tokens.sweep(now_us - 7 * _DAY_US, _PORTION))
        await self._portions(lambda: core.store.enrolments.sweep(now_us - 30 * _DAY_US, _PORTION))

    @staticmethod
    async def _portions(sweep: Callable[[], Awaitable[int]]) -> None:
        for _ in range(_PORTIONS):
            if await sweep() < _PORTION:
                return
