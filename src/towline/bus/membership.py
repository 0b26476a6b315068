# SPDX-License-Identifier: Apache-2.0
"""Who lives, seen from one endpoint: by beats heard, and good-byes. Pure; time comes in."""

from __future__ import annotations

from collections import OrderedDict

from towline.bus.base import Kind, Member
from towline.bus.envelope import Beat

MAX_GONE = 4096
"""Good-byes remembered, so that a late beat does not bring back who left."""

KINDS: tuple[Kind, ...] = ("node", "hub", "door")


class Membership:
    """The living members, without oneself. ``now`` is monotonic seconds everywhere."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._heard: dict[str, float] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, address: str) -> bool:
        return address in self._members

    def addresses(self) -> list[str]:
        return list(self._members)

    def all(self) -> list[Member]:
        return list(self._members.values())

    def beat(self, address: str, beat: Beat, now: float) -> Member | None:
        """Somebody lives. The member when it is new (or was silent before), else None."""
        if address in self._gone:
            return None
        kind = next((kind for kind in KINDS if kind == beat.kind), None)
        if kind is None:  # a kind that a newer release knows: nothing here asks for it
            return None
        known = self._members.get(address)
        member = Member(address, kind, beat.number, beat.started_us, beat.info)
        self._heard[address] = now
        if known != member:
            self._members[address] = member
        return member if known is None else None

    def bye(self, address: str) -> Member | None:
        """Somebody left for good. The member if it was known."""
        self._gone[address] = None
        if len(self._gone) > MAX_GONE:
            self._gone.popitem(last=False)
        return self._drop(address)

    def sweep(self, now: float, dead_seconds: float) -> list[Member]:
        """Remove who was silent for too long, and say who."""
        silent = [address for address, heard in self._heard.items() if now - heard >= dead_seconds]
        return [member for address in silent if (member := self._drop(address))]

    def forgive(self, seconds: float) -> None:
        """It was this process that stood still for so long: silence meanwhile means nothing."""
        for address in self._heard:
            self._heard[address] += seconds

    def _drop(self, address: str) -> Member | None:
        self._heard.pop(address, None)
        return self._members.pop(address, None)
