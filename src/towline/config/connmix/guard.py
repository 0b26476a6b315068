# SPDX-License-Identifier: Apache-2.0
"""Whether what is not understood was meant to say who may use an API: then a warning would leave the API open."""

from __future__ import annotations

from typing import Any

ACCESS = "access"
USERS = "users"


def meant_as_access(name: str, value: Any) -> bool:
    """Whether an unknown key is a misspelt ``access`` or ``users``, or a section that holds one of them.

    :param name: the key without underscores, in lower case
    """
    return distance(name, ACCESS) <= 2 or _is_users(name, value) or holds_access(value)


def meant_as_user(name: str) -> bool:
    """Whether an unknown key beside an API's ``username`` and ``password`` (2022) is one of them, misspelt."""
    return name.startswith(("user", "pass")) or distance(name, "username") <= 2 or distance(name, "password") <= 2


def holds_access(value: Any) -> bool:
    """Whether users stand somewhere inside a value that nobody reads, as when ``access`` was indented too far."""
    if isinstance(value, list):
        return any(holds_access(item) for item in value)
    if not isinstance(value, dict):
        return False
    for key, below in value.items():
        name = normal(key)
        if name in (ACCESS, "roles") or _is_users(name, below) or holds_access(below):
            return True
    return False


def _is_users(name: str, value: Any) -> bool:
    return isinstance(value, dict | list) and distance(name, USERS) <= 1


def distance(one: str, other: str) -> int:
    """How many letters are missing, added, changed or swapped with their neighbour."""
    if abs(len(one) - len(other)) > 3:
        return max(len(one), len(other))
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, left in enumerate(one, 1):
        line = [row]
        for column, right in enumerate(other, 1):
            cost = min(last[column] + 1, line[-1] + 1, last[column - 1] + (left != right))
            if row > 1 and column > 1 and left == other[column - 2] and one[row - 2] == right:
                cost = min(cost, before[column - 2] + 1)
            line.append(cost)
        before, last = last, line
    return last[-1]


def normal(key: object) -> str:
    """A key without what differs between generations."""
    return str(key).replace("_", "").lower()
