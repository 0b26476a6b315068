# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from towline.gateway.answers import Answers, Waiting


class Loop:
    """Time that moves when told. ``late`` is how long after their time timers are noticed."""

    def __init__(self) -> None:
        self.now = 100.0
        self._timers: list[tuple[float, Callable[[], None], list[bool]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Any:
        cancelled = [False]
        self._timers.append((when, callback, cancelled))

        class Handle:
            def cancel(self) -> None:
                cancelled[0] = True

        return Handle()

    def pass_time(self, seconds: float, steps: int = 100) -> None:
        """Smoothly: every timer is noticed within a hundredth of it."""
        for _ in range(steps):
            self.stand_still(seconds / steps)

    def stand_still(self, seconds: float) -> None:
        """All at once, as after SIGSTOP: timers are noticed late."""
        self.now += seconds
        due = [one for one in self._timers if one[0] <= self.now]
        self._timers = [one for one in self._timers if one[0] > self.now]
        for _, callback, cancelled in due:
            if not cancelled[0]:
                callback()


def make() -> tuple[Loop, Answers, list[Waiting]]:
    loop: Any = Loop()
    return loop, Answers(loop, 1.0), []


def test_who_does_not_answer_is_silent() -> None:
    loop, answers, done = make()
    answers.wait(1, {"a", "b"}, done.append, sent=2)
    waiting = answers.expected(1, "a")
    assert waiting is not None
    waiting.sent += 3
    answers.answered(waiting, "a")
    assert not done
    assert answers.expected(1, "a") is None
    loop.pass_time(1.1)
    assert [(one.seq, one.sent, one.silent) for one in done] == [(1, 5, 1)]
    assert (answers.silent, answers.late) == (1, 1)
    assert answers.expected(1, "b") is None


def test_a_node_that_leaves_is_not_waited_for() -> None:
    _, answers, done = make()
    answers.wait(1, {"a"}, done.append)
    answers.wait(2, {"a", "b"}, done.append)
    answers.left("a")
    assert [one.seq for one in done] == [1]
    answers.left("b")
    assert [(one.seq, one.silent) for one in done] == [(1, 1), (2, 2)]


def test_a_process_that_stood_still_reads_first_and_then_gives_up() -> None:
    loop, answers, done = make()
    answers.wait(1, {"a"}, done.append)
    loop.stand_still(5)
    assert not done, "the answer may be there, unread"
    loop.pass_time(1.1)
    assert [one.silent for one in done] == [1]


def test_a_loop_that_is_always_late_gives_up_all_the_same() -> None:
    loop, answers, done = make()
    answers.wait(1, {"a"}, done.append)
    for _ in range(5):
        loop.stand_still(1.5)
    assert [one.silent for one in done] == [1]


def test_closing_answers_everybody() -> None:
    loop, answers, done = make()
    answers.wait(1, {"a"}, done.append)
    answers.wait(2, {"b"}, done.append)
    answers.close()
    loop.pass_time(5)
    assert [(one.seq, one.silent) for one in done] == [(1, 1), (2, 1)]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ask"), st.sets(st.sampled_from("abc"), min_size=1)),
            st.tuples(st.just("answer"), st.tuples(st.integers(1, 30), st.sampled_from("abc"))),
            st.tuples(st.just("left"), st.sampled_from("abc")),
            st.tuples(st.just("time"), st.sampled_from([0.01, 0.3, 1.0])),
            st.tuples(st.just("still"), st.sampled_from([0.2, 3.0])),
        ),
        max_size=60,
    )
)
def test_everything_asked_is_done_once(steps: list[tuple[str, Any]]) -> None:
    loop, answers, done = make()
    asked: dict[int, set[str]] = {}
    answered = 0
    for what, value in steps:
        match what:
            case "ask":
                asked[len(asked) + 1] = set(value)
                answers.wait(len(asked), set(value), done.append)
            case "answer":
                waiting = answers.expected(*value)
                if waiting is not None:
                    waiting.sent += 1
                    answered += 1
                    answers.answered(waiting, value[1])
            case "left":
                answers.left(value)
            case "time":
                loop.pass_time(value)
            case "still":
                loop.stand_still(value)
    for _ in range(4):
        loop.pass_time(2)
    assert sorted(one.seq for one in done) == sorted(asked)
    assert all(one.sent + one.silent == len(asked[one.seq]) for one in done)
    assert sum(one.sent for one in done) == answered
    assert answers.silent == sum(one.silent for one in done)


async def test_on_a_real_loop() -> None:
    answers = Answers(asyncio.get_running_loop(), 0.05)
    done: asyncio.Future[Waiting] = asyncio.get_running_loop().create_future()
    answers.wait(1, {"a"}, done.set_result)
    assert (await asyncio.wait_for(done, 5)).silent == 1
