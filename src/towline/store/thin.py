# SPDX-License-Identifier: Apache-2.0
"""Thinning a series to what a chart can show. Pure; the same for every database.

Numbers: the window is cut into equal spans, of each the lowest and the highest reading stay, so that peaks stay
visible. Anything else: every n-th reading and the last. A series of few enough points is left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from towline.store.codec import Column
from towline.store.rows.common import Point

_Kept: TypeAlias = tuple[float, Point]


class Thinner:
    """Takes the columns of one series in any order; ``count`` readings so far lay in the window.

    :param max_points: at least 4
    """

    def __init__(self, from_us: int, to_us: int, max_points: int) -> None:
        self._from_us = from_us
        self._to_us = to_us
        self._max = max(max_points, 4)
        self._span = max(-(-(to_us - from_us) // (self._max // 2)), 1)
        self._all: list[_Kept] | None = []
        self._lowest: dict[int, _Kept] = {}
        self._highest: dict[int, _Kept] = {}
        self._others: list[Point] = []
        self.count = 0

    def add(self, column: Column) -> None:
        """The readings of a block."""
        from_us, to_us = self._from_us, self._to_us
        inside = [i for i, time in enumerate(column.times) if from_us <= time < to_us]
        self.count += len(inside)
        if column.keys is None:
            self._others += [(column.times[i], column.at(i)) for i in inside]
        elif self._all is not None and len(self._all) + len(inside) <= self._max:
            self._all += [(column.keys[i], (column.times[i], column.at(i))) for i in inside]
        else:
            if self._all is not None:
                for kept in self._all:
                    self._keep(kept)
                self._all = None
            self._add_extremes(column, column.keys, inside)

    def _add_extremes(self, column: Column, numbers: Sequence[float], inside: list[int]) -> None:
        # Only the extremes of each span are made into values: most readings are never decoded further.
        times, from_us, span = column.times, self._from_us, self._span
        low: dict[int, int] = {}
        high: dict[int, int] = {}
        for i in inside:
            place = (times[i] - from_us) // span
            known = low.get(place)
            if known is None:
                low[place] = high[place] = i
            elif numbers[i] < numbers[known]:
                low[place] = i
            elif numbers[i] > numbers[high[place]]:
                high[place] = i
        for i in {*low.values(), *high.values()}:
            self._keep((numbers[i], (times[i], column.at(i))))

    def _keep(self, kept: _Kept) -> None:
        place = (kept[1][0] - self._from_us) // self._span
        lowest = self._lowest.get(place)
        if lowest is None or kept[0] < lowest[0]:
            self._lowest[place] = kept
        highest = self._highest.get(place)
        if highest is None or kept[0] > highest[0]:
            self._highest[place] = kept

    def points(self) -> list[Point]:
        """What stays, ascending by time."""
        if self._all is not None:
            numbers = [point for _, point in self._all]
        else:
            numbers = []
            for place, (_, point) in self._lowest.items():
                numbers.append(point)
                highest = self._highest[place][1]
                if highest != point:
                    numbers.append(highest)
        others = sorted(self._others, key=_time)
        if len(others) > self._max:
            step = -(-len(others) // (self._max - 1))
            last = others[-1]
            others = others[::step]
            if others[-1] is not last:
                others.append(last)
        return sorted(numbers + others, key=_time)


def _time(point: Point) -> int:
    return point[0]
