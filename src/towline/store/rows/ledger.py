# SPDX-License-Identifier: Apache-2.0
"""Commands and what became of them."""

from __future__ import annotations

from towline.store.rows.common import CommandState, Row


class StepRow(Row, frozen=True, kw_only=True):
    """One line of a command's history. ``time_us`` is the agent's clock for its steps; ``applied`` is False for what
    came too late or against the rules and changed nothing."""

    step: str
    time_us: int
    stored_us: int
    note: str = ""
    applied: bool = True


class CommandRow(Row, frozen=True, kw_only=True):
    """A command. ``params`` and ``result`` are JSON text. ``result`` is what the first final step carried;
    ``late_result`` what came after the command had timed out."""

    workgroup: str
    id: str
    device_id: str
    app_guid: str
    module: str
    name: str
    params: str
    state: CommandState
    user_id: str
    user_name: str
    created_us: int
    expires_us: int
    sent_us: int | None = None
    final_us: int | None = None
    result: str | None = None
    late_result: str | None = None
    idempotency_key: str | None = None
    steps: tuple[StepRow, ...] = ()


class NewCommand(Row, frozen=True, kw_only=True):
    """What ``ledger.create`` needs. ``id`` is 40 lower-case hex digits."""

    id: str
    device_id: str
    app_guid: str
    module: str
    name: str
    params: str
    user_id: str
    user_name: str
    created_us: int
    expires_us: int
    idempotency_key: str | None = None


class Created(Row, frozen=True, kw_only=True):
    """``created`` is False when the idempotency key was known: ``command`` is the first one's row."""

    command: CommandRow
    created: bool


class StepOutcome(Row, frozen=True, kw_only=True):
    """What became of an agent's step. ``applied``: the state changed. Otherwise ``reason`` is one word:
    ``unknown_command``, ``unknown_step``, ``repeated``, ``out_of_order``, ``late`` (recorded: see ``late_result``),
    ``contradiction`` (the ledger already says otherwise). ``command`` is None only for ``unknown_command``."""

    command_id: str
    step: str
    applied: bool
    reason: str
    command: CommandRow | None
