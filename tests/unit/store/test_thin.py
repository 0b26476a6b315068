# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from towline.store.codec import Column
from towline.store.rows import Value
from towline.store.thin import Thinner


def column(points: Sequence[tuple[int, Value]], *, numbers: bool = True) -> Column:
    values = [value for _, value in points]
    return Column(1, [time for time, _ in points], values if numbers else None, values.__getitem__)  # type: ignore[arg-type]


def test_few_points_stay_as_they_are() -> None:
    thinner = Thinner(0, 100, 10)
    thinner.add(column([(50, 5), (60, 6)]))
    thinner.add(column([(10, 1), (100, 9), (-1, 9)]))
    assert thinner.points() == [(10, 1), (50, 5), (60, 6)]
    assert thinner.count == 3


def test_peaks_survive() -> None:
    thinner = Thinner(0, 10_000, 20)
    thinner.add(column([(n, 1_000_000 if n == 4321 else n % 7) for n in range(10_000)]))
    points = thinner.points()
    assert len(points) <= 20
    assert (4321, 1_000_000) in points


def test_text_is_thinned_evenly_and_keeps_its_last() -> None:
    thinner = Thinner(0, 1000, 10)
    thinner.add(column([(n, f"v{n}") for n in range(1000)], numbers=False))
    points = thinner.points()
    assert len(points) <= 10
    assert points[0] == (0, "v0")
    assert points[-1] == (999, "v999")


@given(
    st.lists(st.lists(st.tuples(st.integers(-10, 1010), st.integers(-50, 50)), max_size=60), max_size=4),
    st.integers(4, 30),
)
@settings(max_examples=150)
def test_thinned_points_are_real_ordered_and_extreme(parts: list[list[tuple[int, int]]], most: int) -> None:
    thinner = Thinner(0, 1000, most)
    for part in parts:
        thinner.add(column(part))
    inside = [point for part in parts for point in part if 0 <= point[0] < 1000]
    points = thinner.points()
    assert thinner.count == len(inside)
    assert [time for time, _ in points] == sorted(time for time, _ in points)
    assert set(points) <= set(inside)
    assert len(points) <= max(most, 4) + 1
    if inside:
        assert {min(v for _, v in inside), max(v for _, v in inside)} <= {v for _, v in points}
    if len(inside) <= most:
        assert sorted(points) == sorted(inside)
