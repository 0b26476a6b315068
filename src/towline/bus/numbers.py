# SPDX-License-Identifier: Apache-2.0
"""Node numbers 1–1023: who has one, and when it is free again. Pure; the buses keep the records.

An id contains its node's number, so no two nodes may ever issue ids with one number in the same millisecond: a number
rests after it was released or its lease ran out, and its next holder starts after the last millisecond of the one before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from towline.errors import Unavailable

NUMBERS = range(1, 1024)
"""Not 0, which client libraries take for "no node"."""

LEASE_SECONDS = 10.0
"""A number that was not renewed for this long is lost."""

RENEW_SECONDS = 1.0
REST_SECONDS = 60.0
"""Between one holder and the next. Clocks of nodes must agree better than this."""


class Number(msgspec.Struct):
    """What is stored with a number. ``owner`` is empty and ``released_us`` set once it was given back."""

    owner: str
    expires_us: int
    last_id_ms: int = 0
    released_us: int = 0

    def release(self, now_us: int) -> None:
        self.owner = ""
        self.released_us = now_us

    def free(self, now_us: int, rest_us: int) -> bool:
        """Whether another may take it."""
        ended_us = self.expires_us if self.owner else self.released_us
        return now_us >= ended_us + rest_us

    def floor_ms(self) -> int:
        """The newest millisecond that may be in an id: an owner that fell silent may have issued until its end."""
        return max(self.last_id_ms, self.expires_us // 1000) if self.owner else self.last_id_ms


def pick(known: Mapping[int, Number], now_us: int, rest_us: int, avoid: Collection[int] = ()) -> int:
    """The lowest number that is free; Unavailable ``bus.no_number`` when none is."""
    for number in NUMBERS:
        held = known.get(number)
        if number not in avoid and (held is None or held.free(now_us, rest_us)):
            return number
    raise none_free()


def none_free() -> Unavailable:
    return Unavailable(
        "bus.no_number",
        f"all {len(NUMBERS)} node numbers are in use or rest",
        hint="a number is free again a minute after its node stopped",
    )
