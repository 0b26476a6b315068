# SPDX-License-Identifier: Apache-2.0
"""The ledger's rules by themselves (towline.store.ledger)."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.store import ledger
from towline.store.ledger import move
from towline.store.rows import CommandState

STATES: tuple[CommandState, ...] = get_args(CommandState)
histories = st.lists(st.tuples(st.sampled_from(sorted(ledger.STEPS)), st.booleans()), max_size=12)


def play(state: CommandState, history: list[tuple[str, bool]]) -> CommandState:
    for step, alive in history:
        state = move(state, step, alive=alive).state or state
    return state


@given(st.sampled_from(STATES), st.text(max_size=12) | st.sampled_from(sorted(ledger.STEPS)), st.booleans())
def test_a_move_changes_the_state_or_says_why_not(state: CommandState, step: str, alive: bool) -> None:
    found = move(state, step, alive=alive)
    assert (found.state is None) == bool(found.reason)
    assert found.state != state
    assert found.state is None or found.state in STATES


@given(st.sampled_from([state for state in STATES if state in ledger.FINAL]), histories)
def test_nothing_leaves_a_final_state(state: CommandState, history: list[tuple[str, bool]]) -> None:
    assert play(state, history) == state


@given(histories)
def test_acked_needs_the_agents_word_and_what_ran_never_counts_as_not_run(history: list[tuple[str, bool]]) -> None:
    told = {step for step, _ in history}
    end = play("sent", history)
    if end == "acked":
        assert "acked" in told
    if end in ("expired", "cancelled"):
        assert told & ledger.NEVER_RAN


@given(histories)
def test_known_to_be_with_the_plugin_is_never_called_not_run(history: list[tuple[str, bool]]) -> None:
    # Without an UNKNOWN in between, "delivered" cannot be taken back.
    history = [(step, alive) for step, alive in history if step != "unknown"]
    assert play("delivered", history) not in ("expired", "cancelled")


@pytest.mark.parametrize(
    ("state", "step", "becomes"),
    [
        ("sent", "received", "received"),
        ("sent", "acked", "acked"),
        ("received", "delivered", "delivered"),
        ("accepted", "rejected", "rejected"),
        ("accepted", "errored", "errored"),
        ("delivered", "timed_out", "timed_out"),
        ("accepted", "unknown", "unknown"),
        ("unknown", "acked", "acked"),
        ("unknown", "accepted", "accepted"),
        ("sent", "expired", "expired"),
        ("queued", "received", "received"),
    ],
)
def test_moves(state: CommandState, step: str, becomes: str) -> None:
    assert move(state, step, alive=True).state == becomes


@pytest.mark.parametrize(("alive", "becomes"), [(True, "cancelled"), (False, "expired")])
def test_not_executed_is_cancelled_in_its_life_and_expired_after(alive: bool, becomes: str) -> None:
    assert move("unknown", "not_executed", alive=alive).state == becomes


@pytest.mark.parametrize(
    ("state", "step", "reason"),
    [
        ("accepted", "received", "out_of_order"),
        ("accepted", "accepted", "repeated"),
        ("timed_out", "acked", "late"),
        ("timed_out", "timed_out", "repeated"),
        ("timed_out", "accepted", "out_of_order"),
        ("acked", "acked", "repeated"),
        ("acked", "errored", "contradiction"),
        ("expired", "acked", "contradiction"),
        ("cancelled", "delivered", "contradiction"),
        ("cancelled", "not_executed", "repeated"),
        ("acked", "expired", "contradiction"),
        ("acked", "unknown", "out_of_order"),
        ("delivered", "not_executed", "contradiction"),
        ("sent", "sent", "unknown_step"),
        ("sent", "cancelled", "unknown_step"),
    ],
)
def test_reasons(state: CommandState, step: str, reason: str) -> None:
    assert move(state, step, alive=True) == ledger.Move(None, reason)
