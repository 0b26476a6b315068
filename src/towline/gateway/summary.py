# SPDX-License-Identifier: Apache-2.0
"""Durations as connmix shows them: quantiles over a sliding window, of samples that cost the traffic nothing.

The window consists of parts; each keeps a bounded number of durations, drawn at random where more came, and its smallest
and greatest. The oldest part is dropped as a whole. How many are timed in a second is bounded by :class:`Budget`.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


class Part:
    """One part of the window."""

    __slots__ = ("begins", "count", "greatest", "samples", "smallest")

    def __init__(self, begins: float) -> None:
        self.begins = begins
        self.samples: list[float] = []
        self.count = 0
        self.smallest = math.inf
        self.greatest = -math.inf


class Quantiles(NamedTuple):
    """What a scrape shows; NaN for each quantile of an empty window."""

    quantiles: Mapping[float, float]
    total: float
    observed: int


class Summary:
    """Durations of one kind, in seconds.

    :param now: the clock, in seconds
    :param draw: as ``random.randrange``
    """

    def __init__(
        self,
        age_s: float,
        parts: int,
        samples: int,
        now: Callable[[], float],
        draw: Callable[[int], int] = random.randrange,
    ) -> None:
        self._part_s = age_s / parts
        self._parts: deque[Part] = deque(maxlen=parts)
        self._age_s = age_s
        self._samples = samples
        self._now = now
        self._draw = draw
        self.sum = 0.0
        self.count = 0

    def observe(self, duration: float) -> None:
        """One more."""
        self.sum += duration
        self.count += 1
        now = self._now()
        if not self._parts or now - self._parts[-1].begins >= self._part_s:
            self._parts.append(Part(now))
        part = self._parts[-1]
        part.count += 1
        part.smallest = min(part.smallest, duration)
        part.greatest = max(part.greatest, duration)
        if len(part.samples) < self._samples:
            part.samples.append(duration)
        elif (place := self._draw(part.count)) < self._samples:
            part.samples[place] = duration

    def quantiles(self) -> Quantiles:
        """The window as it is now. Parts weigh as many durations as came in them, not as many as they kept."""
        oldest = self._now() - self._age_s
        parts = [part for part in self._parts if part.begins > oldest]
        if not parts:
            return Quantiles(dict.fromkeys(QUANTILES, math.nan), self.sum, self.count)
        weighed = sorted((value, part.count / len(part.samples)) for part in parts for value in part.samples)
        total = sum(weight for _, weight in weighed)
        found: dict[float, float] = {0.0: min(part.smallest for part in parts)}
        wanted = list(QUANTILES[1:-1])
        reached = 0.0
        for value, weight in weighed:
            reached += weight
            while wanted and reached >= wanted[0] * total:
                found[wanted.pop(0)] = value
        for left in wanted:  # rounding alone leaves one over
            found[left] = weighed[-1][0]
        found[1.0] = max(part.greatest for part in parts)
        return Quantiles(found, self.sum, self.count)


class Budget:
    """How many sends may be timed until the next second: all of a quiet node's, and a bounded few of a busy one's."""

    __slots__ = ("each", "left")

    def __init__(self, each: int) -> None:
        self.each = each
        self.left = each

    def refill(self) -> None:
        self.left = self.each
