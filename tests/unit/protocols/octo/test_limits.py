# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import pytest

from towline.protocols.octo.limits import too_deep


@pytest.mark.parametrize(
    ("value", "levels"),
    [("text", 0), (5, 0), (None, 0), ({}, 1), ([], 1), ({"a": 1}, 1), ([{}], 2), ({"a": [1, {"b": ()}]}, 4)],
)
def test_levels(value: Any, levels: int) -> None:
    assert not too_deep(value, levels)
    assert levels == 0 or too_deep(value, levels - 1)


def test_any_depth_can_be_asked_about() -> None:
    value: Any = []
    for _ in range(100_000):
        value = {"a": value}
    assert too_deep(value, 64)
    assert not too_deep(value, 100_001)
    circle: list[Any] = []
    circle.append(circle)
    assert too_deep(circle, 64)
    while value:  # or freeing it would recurse
        value = value["a"]
