# SPDX-License-Identifier: Apache-2.0
"""What a context may hold, and what JSON makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from towline.gateway.contextvalues import MAX_DEPTH, key_text, problem_of, problem_of_call, text_keys


def nested(depth: int) -> Any:
    """This many arrays and objects inside each other."""
    value: Any = 1
    for number in range(depth):
        value = {"x": value} if number % 2 else [value]
    return value


@pytest.mark.parametrize("value", [None, True, 2**64, -(2**1023), 1e308, "x", [1, {"a": [None]}], nested(MAX_DEPTH)])
def test_kept(value: Any) -> None:
    assert problem_of(value) == ""


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (10**400, "an integer is beyond the range of a double"),
        (-(10**400), "an integer is beyond the range of a double"),
        ({"a": [1, 10**400]}, "an integer is beyond the range of a double"),
        (nested(MAX_DEPTH + 1), "nested deeper than 64"),
        (nested(500), "nested deeper than 64"),
    ],
)
def test_refused(value: Any, problem: str) -> None:
    assert problem in problem_of(value)


def test_one_of_too_many_digits_for_a_text_too() -> None:
    assert "beyond the range" in problem_of(10**5000)


def test_a_circle_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert "nested deeper" in problem_of(circle)


def test_a_call_says_which_value() -> None:
    assert problem_of_call("set_context_value", ["deep", nested(MAX_DEPTH)]) == ""
    assert problem_of_call("set_context_value", ["deep", nested(MAX_DEPTH + 1)]) == (
        "set_context_value: the value of 'deep' cannot be kept: it is nested deeper than 64 arrays and objects"
    )
    assert problem_of_call("set_context", [{"a": 1, "b": nested(MAX_DEPTH - 1)}]) == ""
    assert "the value of 'b'" in problem_of_call("set_context", [{"a": 1, "b": nested(MAX_DEPTH)}])
    assert "the value of '2'" in problem_of_call("subscribe", ["a", 10**400])


def test_keys_as_json_has_them() -> None:
    assert [key_text(key) for key in (b"a", b"\xff", "b", 7, 1.5, 1e300)] == ["a", "\ufffd", "b", "7", "1.5", "1e+300"]
    assert key_text(True) is True
    assert text_keys({1: [{2.5: "a"}], "1": "later"}) == {"1": "later"}
    assert text_keys(({1: "a"}, b"x")) == [{"1": "a"}, b"x"]
