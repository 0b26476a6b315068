# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from towline.gateway.wheel import Wheel


class Thing:
    def __init__(self) -> None:
        self.slot = -1
        self.at = 0.0


def test_things_come_when_they_are_due() -> None:
    wheel: Wheel[Thing] = Wheel(1.0, 100.2)
    soon, later, gone = Thing(), Thing(), Thing()
    wheel.add(soon, 101.0)
    wheel.add(later, 110.0)
    wheel.add(gone, 101.0)
    wheel.remove(gone)
    assert list(wheel.due(100.9)) == []
    assert list(wheel.due(102.0)) == [soon]
    wheel.add(soon, 90.0)  # overdue: next time
    assert list(wheel.due(103.1)) == [soon]
    assert list(wheel.due(500.0)) == [later]
    assert not wheel._slots


def test_what_is_removed_while_others_are_handed_out_does_not_come() -> None:
    wheel: Wheel[Thing] = Wheel(1.0, 0.0)
    things = [Thing() for _ in range(10)]
    for thing in things:
        wheel.add(thing, 1.0)
    found = []
    for thing in wheel.due(5.0):
        found.append(thing)
        for other in things:
            if other is not thing:
                wheel.remove(other)
    assert len(found) == 1


def test_what_is_added_while_others_are_handed_out_comes_later() -> None:
    wheel: Wheel[Thing] = Wheel(1.0, 0.0)
    thing = Thing()
    wheel.add(thing, 0.0)
    times = 0
    for found in wheel.due(1.0):
        wheel.add(found, 1.0)
        times += 1
    assert times == 1
    assert list(wheel.due(2.0)) == [thing]


@given(
    actions=st.lists(
        st.tuples(st.sampled_from(["add", "remove", "due"]), st.integers(0, 4), st.floats(0, 20)), max_size=80
    )
)
def test_nothing_comes_early_or_more_than_a_step_late(actions: list[tuple[str, int, float]]) -> None:
    step, now = 0.5, 3.0
    wheel: Wheel[Thing] = Wheel(step, now)
    things = [Thing() for _ in range(5)]
    on: dict[Thing, float] = {}
    for action, which, seconds in actions:
        thing = things[which]
        if action == "add":
            on[thing] = now + seconds
            wheel.add(thing, on[thing])
        elif action == "remove":
            on.pop(thing, None)
            wheel.remove(thing)
        else:
            now += seconds / 4
            for found in wheel.due(now):
                assert on.pop(found) <= now
            assert all(now < due + step + 1e-9 for due in on.values() if due > 0) or not on
    assert {thing for things in wheel._slots.values() for thing in things} == set(on)
