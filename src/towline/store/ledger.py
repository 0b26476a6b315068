# SPDX-License-Identifier: Apache-2.0
"""The ledger's rules: which step takes a command from which state to which. Pure; the same for every database.

::

    queued ──hub──▶ sent ─▶ received ─▶ delivered ─▶ accepted ─▶ acked | errored | rejected | timed_out   (final)
      │               └─────────┴────────────┴───────────┴─────▶ unknown ─▶ any of them, once the agent knows
      └──hub──▶ expired | cancelled                                                                      (final)

The promise: ACKED ran once; EXPIRED and CANCELLED never ran; what cannot be known is UNKNOWN. So the hub alone may
end only what is ``queued``; afterwards the agent's word is needed: ``expired`` and ``not_executed`` say "it never ran
and never will". An agent may skip steps (a frame was lost, an old plugin acks without accepting); it never goes back.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from towline.store.rows.common import CommandState

FINAL: Final[frozenset[str]] = frozenset({"acked", "errored", "rejected", "expired", "cancelled", "timed_out"})
"""States that a command never leaves."""

OPEN: Final[tuple[CommandState, ...]] = ("queued", "sent", "received", "delivered", "accepted", "unknown")

UNDERWAY: Final[tuple[CommandState, ...]] = ("sent", "received", "delivered", "accepted")
"""Left the hub, no final step yet."""

ANSWERS: Final[frozenset[str]] = frozenset({"acked", "errored", "rejected"})
"""Steps that carry the plugin's last word."""

NEVER_RAN: Final[frozenset[str]] = frozenset({"expired", "not_executed"})
"""Steps by which the agent says that it never ran and never will."""

_RANK: Final[dict[str, int]] = {"queued": 0, "sent": 1, "received": 2, "delivered": 3, "accepted": 4}

STEPS: Final[frozenset[str]] = frozenset(
    {"received", "delivered", "accepted", "unknown", "timed_out"} | ANSWERS | NEVER_RAN
)


class Move(NamedTuple):
    """``state``: the new state, None when nothing changes; ``reason`` then says why, in one word."""

    state: CommandState | None
    reason: str = ""


def move(state: CommandState, step: str, *, alive: bool) -> Move:
    """What ``step``, told by the agent, makes of a command in ``state``. ``alive``: its life is not over yet.

    Reasons: ``unknown_step``, ``repeated``, ``out_of_order``, ``late`` (an answer after ``timed_out``),
    ``contradiction`` (the ledger already knows otherwise).
    """
    if step not in STEPS:
        return Move(None, "unknown_step")
    if state in FINAL:
        return Move(None, _after_the_end(state, step))
    if step in NEVER_RAN:
        if state in ("delivered", "accepted"):
            return Move(None, "contradiction")
        return Move("cancelled" if alive and step == "not_executed" else "expired")
    if step == state:
        return Move(None, "repeated")
    if state == "unknown" or step not in _RANK:
        return Move(_as_state(step))
    return Move(_as_state(step)) if _RANK[step] > _RANK[state] else Move(None, "out_of_order")


def _after_the_end(state: CommandState, step: str) -> str:
    if step == state or (step == "not_executed" and state in ("expired", "cancelled")):
        return "repeated"
    if step in ANSWERS:
        return "late" if state == "timed_out" else "contradiction"
    if step in _RANK:
        return "contradiction" if state in ("expired", "cancelled") else "out_of_order"
    if step in NEVER_RAN:
        return "contradiction"
    return "out_of_order"


def _as_state(step: str) -> CommandState:
    # Every step that gets here is also the name of a state: STEPS without not_executed.
    return step  # type: ignore[return-value]
