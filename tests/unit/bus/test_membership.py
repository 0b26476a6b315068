# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from towline.bus.base import Member
from towline.bus.envelope import Beat
from towline.bus.membership import MAX_GONE, Membership

NODE = Beat("node", 3, 1, {"version": "1"})


def test_a_member_lives_as_long_as_it_beats() -> None:
    membership = Membership()
    member = Member("a", "node", 3, 1, {"version": "1"})
    assert membership.beat("a", NODE, 0.0) == member
    assert membership.beat("a", NODE, 4.0) is None
    assert membership.sweep(8.9, 5.0) == []
    assert membership.all() == [member]
    assert membership.sweep(9.0, 5.0) == [member]
    assert "a" not in membership
    assert membership.beat("a", NODE, 10.0) == member, "it was cut off and is back"


def test_what_changed_is_taken_over() -> None:
    membership = Membership()
    membership.beat("a", NODE, 0.0)
    assert membership.beat("a", Beat("node", 4, 1, {}), 1.0) is None
    assert membership.all() == [Member("a", "node", 4, 1, {})]


def test_a_late_beat_does_not_bring_back_who_left() -> None:
    membership = Membership()
    membership.beat("a", NODE, 0.0)
    assert membership.bye("a") is not None
    assert membership.bye("a") is None
    assert membership.beat("a", NODE, 1.0) is None
    assert membership.all() == []


def test_the_memory_of_good_byes_is_bounded() -> None:
    membership = Membership()
    for n in range(MAX_GONE + 1):
        membership.bye(str(n))
    assert membership.beat("0", NODE, 0.0) is not None
    assert membership.beat("1", NODE, 0.0) is None


def test_a_pause_of_this_process_kills_nobody() -> None:
    membership = Membership()
    membership.beat("a", NODE, 0.0)
    membership.forgive(60.0)
    assert membership.sweep(61.0, 5.0) == []
    assert len(membership.sweep(65.0, 5.0)) == 1


def test_a_kind_of_a_newer_release_is_not_a_member() -> None:
    membership = Membership()
    assert membership.beat("a", Beat("archive", -1, 1, {}), 0.0) is None
    assert membership.all() == []


class Machine(RuleBasedStateMachine):
    """Against a plain model: who beat within the last five seconds and never said good-bye."""

    def __init__(self) -> None:
        super().__init__()
        self.membership = Membership()
        self.now = 0.0
        self.heard: dict[str, float] = {}
        self.gone: set[str] = set()

    @rule(address=st.sampled_from("abc"))
    def beat(self, address: str) -> None:
        told = self.membership.beat(address, NODE, self.now) is not None
        assert told == (address not in self.heard and address not in self.gone)
        if address not in self.gone:
            self.heard[address] = self.now

    @rule(address=st.sampled_from("abc"))
    def bye(self, address: str) -> None:
        told = self.membership.bye(address) is not None
        assert told == (self.heard.pop(address, None) is not None)
        self.gone.add(address)

    @rule(seconds=st.floats(0, 6))
    def sweep(self, seconds: float) -> None:
        self.now += seconds
        silent = {address for address, heard in self.heard.items() if self.now - heard >= 5.0}
        assert {member.address for member in self.membership.sweep(self.now, 5.0)} == silent
        for address in silent:
            del self.heard[address]

    @invariant()
    def same(self) -> None:
        assert set(self.membership.addresses()) == set(self.heard)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=50, stateful_step_count=30)
