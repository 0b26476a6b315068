# SPDX-License-Identifier: Apache-2.0
"""Commands. The rules are in :mod:`towline.store.ledger`, the same for every implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from towline.store.rows import CommandRow, CommandState, Created, NewCommand, Page, StepOutcome

Commands: TypeAlias = list[CommandRow]


class LedgerStore(Protocol):
    """The promise: ACKED ran once; EXPIRED and CANCELLED never ran; what cannot be known is UNKNOWN.

    Rows come with their steps.
    """

    async def create(self, workgroup: str, command: NewCommand) -> Created:
        """A row in state ``queued``. A known ``idempotency_key`` (unique for workgroup and device) answers the first
        row with ``created=False``; Conflict ``command.idempotency_mismatch`` if that one differs in plugin, module, name
        or params. NotFound ``device.unknown``; Conflict ``command.exists`` (id)."""
        ...

    async def get(self, workgroup: str, command_id: str) -> CommandRow | None: ...

    async def list(
        self,
        workgroup: str,
        device_id: str | None = None,
        *,
        states: Sequence[CommandState] | None = None,
        limit: int = 20,
        before: str | None = None,
    ) -> Page[CommandRow]:
        """Newest first, with steps. ``before``: a former page's ``next`` (a command id). ``limit`` 1–1000."""
        ...

    async def mark_sent(self, workgroup: str, command_id: str, now_us: int) -> CommandRow | None:
        """``queued`` and not expired → ``sent``: only whoever gets the row may send it. None: it is in another state,
        or its life is over."""
        ...

    async def apply_step(
        self,
        workgroup: str,
        device_id: str,
        command_id: str,
        step: str,
        time_us: int,
        result: str | None,
        note: str,
        now_us: int,
    ) -> StepOutcome:
        """What the agent said of a command (also done by ``records.store_batch``). ``not_executed`` and ``expired``
        make it ``expired`` once its life is over, else ``cancelled``: either means that it never ran. An answer after
        the final state is recorded (``late_result``) and changes nothing."""
        ...

    async def cancel(self, workgroup: str, command_id: str, note: str, now_us: int) -> CommandRow:
        """``queued`` → ``cancelled``. Conflict ``command.not_queued`` in any other state; NotFound ``command.unknown``."""
        ...

    async def mark_unknown(self, workgroup: str, command_id: str, note: str, now_us: int) -> CommandRow | None:
        """``sent``, ``received``, ``delivered`` or ``accepted`` → ``unknown``; None in any other state."""
        ...

    async def expire_due(self, now_us: int, limit: int = 500) -> Commands:
        """``queued`` rows whose life is over → ``expired``, in all workgroups; those that changed."""
        ...

    async def unknown_due(self, now_us: int, grace_us: int, limit: int = 500) -> Commands:
        """Sent rows without a final step whose life ended more than ``grace_us`` ago → ``unknown``, in all workgroups;
        those that changed."""
        ...

    async def queued(self, workgroup: str, device_id: str, now_us: int, limit: int = 100) -> Commands:
        """What waits for the device, oldest first, expired ones left out."""
        ...

    async def to_resend(self, workgroup: str, device_id: str, now_us: int, limit: int = 100) -> Commands:
        """``sent`` rows that the agent has not confirmed, oldest first, expired ones left out: to be sent again on
        every WELCOME (the agent knows them by id)."""
        ...

    async def to_query(self, workgroup: str, device_id: str, now_us: int, limit: int = 100) -> Commands:
        """Rows whose fate only the agent's journal knows: ``unknown`` ones, and whatever left ``queued``, is not final
        and has outlived its life. Oldest first."""
        ...

    async def sweep(self, before_us: int, limit: int = 1000) -> int:
        """Remove rows created before ``before_us`` in all workgroups, whatever their state. How many went."""
        ...
