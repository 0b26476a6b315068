# SPDX-License-Identifier: Apache-2.0
"""How long sends and publishes take (spec connmix §6): to a client of this node until its frame is written, to one of another
node until that node answered. A bounded number in each second is timed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Literal

from towline.gateway.settings import SummarySettings
from towline.gateway.summary import Budget, Quantiles, Summary

Protocol = Literal["websocket", "socket"]
Scenario = Literal["local", "forward"]

PROTOCOLS: tuple[Protocol, ...] = ("socket", "websocket")
SCENARIOS: tuple[Scenario, ...] = ("forward", "local")

_SOCKET, _WEBSOCKET = PROTOCOLS

SENDS_A_SECOND = 100
"""How many are timed."""


class SendDurations:
    """One summary for each protocol and scenario, all there from the start."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: SummarySettings | None = None,
        now: Callable[[], float] = perf_counter,
    ) -> None:
        """Without settings nothing is timed. ``now`` in seconds: a loop's own clock may stand still within a turn."""
        self._loop = loop
        self.now = now
        self.budget = Budget(SENDS_A_SECOND if settings else 0)
        settings = settings or SummarySettings()
        self._summaries = {
            (protocol, scenario): Summary(settings.age_s, settings.buckets, settings.samples, lambda: loop.time())
            for protocol in PROTOCOLS
            for scenario in SCENARIOS
        }

    def written(self, *, raw: bool) -> None:
        """Time what was queued in this turn of the loop: what the outbox holds is written before callbacks that come
        later are called."""
        self.budget.left -= 1
        now = self.now
        began, protocol = now(), _SOCKET if raw else _WEBSOCKET
        self._loop.call_soon(lambda: self.observe(protocol, "local", now() - began))

    def answered(self, began: float, silent: int) -> None:
        """Other nodes answered a send or publish; what somebody was silent about is not timed. They do not say what kind
        of client it was for."""
        if self.budget.left and not silent:
            self.budget.left -= 1
            self.observe("websocket", "forward", self.now() - began)

    def observe(self, protocol: Protocol, scenario: Scenario, duration: float) -> None:
        self._summaries[protocol, scenario].observe(duration)

    def shown(self) -> Iterator[tuple[Protocol, Scenario, Quantiles]]:
        """What ``/metrics`` shows."""
        for (protocol, scenario), summary in self._summaries.items():
            yield protocol, scenario, summary.quantiles()
