# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from towline.protocols.octo import CommandBook, CommandState, OctoError, Reason
from towline.protocols.octo import messages as m
from towline.protocols.octo.command import KEEP_FINAL

SECOND = 1_000_000


def ack(state: str, command_id: str = "a", **changes: Any) -> m.CommandAck:
    fields: dict[str, Any] = {
        "app_guid": "g",
        "epoch": "1",
        "command_id": command_id,
        "command_source": "remote",
        "module_name": "main",
        "command_state": state,
        "command_acks": [m.AckItem(name="go")],
    }
    return m.CommandAck(**{**fields, **changes})


def book_with(command_id: str = "a") -> CommandBook:
    book = CommandBook()
    book.sent(command_id, module="main", name="go", now_us=0)
    return book


@pytest.mark.parametrize(
    ("states", "notes"),
    [
        (["ACCEPTED", "ACKED"], [None, None]),
        (["ACCEPTED", "ERRORED"], [None, None]),
        (["REJECTED"], [None]),
        (["ACKED"], ["ACKED without ACCEPTED before it"]),
        (["ERRORED"], ["ERRORED without ACCEPTED before it"]),
        (["ACCEPTED", "REJECTED"], [None, "REJECTED after ACCEPTED"]),
        (["ACCEPTED", "ACCEPTED", "ACKED"], [None, "ACCEPTED twice", None]),
    ],
)
def test_paths(states: list[str], notes: list[str | None]) -> None:
    book = book_with()
    steps = [book.apply(ack(state), SECOND) for state in states]
    assert [step.note for step in steps] == notes
    assert [step.state for step in steps] == states
    assert book.open() == []


@pytest.mark.parametrize("final", ["ACKED", "ERRORED", "REJECTED"])
@pytest.mark.parametrize("after", ["ACCEPTED", "ACKED", "ERRORED", "REJECTED"])
def test_final_is_final(final: str, after: str) -> None:
    book = book_with()
    book.apply(ack(final), 0)
    with pytest.raises(OctoError, match=f"already {final}") as caught:
        book.apply(ack(after), 0)
    assert caught.value.reason is Reason.COMMAND


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"command_id": "b"}, "$.params.commandId"),
        ({"module_name": "other"}, "$.params.moduleName"),
        ({"command_source": "local"}, "$.params.commandSource"),
        ({"command_acks": [m.AckItem(name="go"), m.AckItem(name="stop")]}, "$.params.commandAcks[1].name"),
    ],
)
def test_acks_that_fit_no_command(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(OctoError) as caught:
        book_with().apply(ack("ACKED", **changes), 0)
    assert caught.value.where == where


def test_the_minute() -> None:
    book = book_with()
    assert book.newly_timed_out(59 * SECOND) == []
    assert [entry.command_id for entry in book.newly_timed_out(60 * SECOND)] == ["a"]
    assert book.newly_timed_out(61 * SECOND) == []
    step = book.apply(ack("ACKED"), 70 * SECOND)
    assert step.late
    assert not book_with().apply(ack("ACKED"), 59 * SECOND).late


def test_ids_are_used_once() -> None:
    book = book_with()
    with pytest.raises(OctoError, match="was sent already"):
        book.sent("a", module="main", name="go", now_us=0)
    book.apply(ack("ACKED"), 0)
    with pytest.raises(OctoError, match="was sent already"):
        book.sent("a", module="main", name="go", now_us=0)
    book.sent("b", module="main", name="go", now_us=0)
    book.forget("b")
    book.sent("b", module="main", name="go", now_us=0, state=CommandState.ACCEPTED)
    assert book.open()[0].state is CommandState.ACCEPTED


def test_final_ids_are_kept_bounded() -> None:
    book = CommandBook()
    for number in range(KEEP_FINAL + 10):
        book.sent(str(number), module="main", name="go", now_us=0)
        book.apply(ack("ACKED", str(number)), 0)
    with pytest.raises(OctoError, match="no command"):
        book.apply(ack("ACKED", "0"), 0)


class Machine(RuleBasedStateMachine):
    """No order of acks reaches two final states, or leaves a final command open."""

    def __init__(self) -> None:
        super().__init__()
        self.book = CommandBook()
        self.finals: dict[str, list[str]] = {}

    @rule(command_id=st.sampled_from("abc"))
    def send(self, command_id: str) -> None:
        try:
            self.book.sent(command_id, module="main", name="go", now_us=0)
        except OctoError:
            return
        self.finals[command_id] = []

    @rule(command_id=st.sampled_from("abcd"), state=st.sampled_from(["ACCEPTED", "REJECTED", "ACKED", "ERRORED"]))
    def answer(self, command_id: str, state: str) -> None:
        try:
            step = self.book.apply(ack(state, command_id), 0)
        except OctoError:
            return
        if step.state.final:
            self.finals[command_id].append(state)

    @invariant()
    def once(self) -> None:
        open_ids = {entry.command_id for entry in self.book.open()}
        for command_id, finals in self.finals.items():
            assert len(finals) + (command_id in open_ids) == 1


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
