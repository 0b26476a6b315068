# SPDX-License-Identifier: Apache-2.0
"""Commands in SQLite; the rules are :mod:`towline.store.ledger`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from towline.errors import Conflict, NotFound
from towline.store import ledger as rules
from towline.store.base.ledger import Commands
from towline.store.rows import CommandRow, CommandState, Created, NewCommand, Page, StepOutcome, StepRow
from towline.store.sqlite.access import Access, check_limit

MAX_STEPS: Final = 64
"""Lines of history of one command; more are not kept (an agent that repeats itself)."""

_COLUMNS: Final = (
    "no, workgroup, id, device_id, app_guid, module, name, params, state, user_id, user_name, created_us, expires_us,"
    " sent_us, final_us, result, late_result, idempotency_key"
)
_UNDERWAY: Final = "('sent', 'received', 'delivered', 'accepted')"


def _command(row: Sequence[Any], steps: tuple[StepRow, ...] = ()) -> CommandRow:
    return CommandRow(
        workgroup=row[1],
        id=row[2],
        device_id=row[3],
        app_guid=row[4],
        module=row[5],
        name=row[6],
        params=row[7],
        state=row[8],
        user_id=row[9],
        user_name=row[10],
        created_us=row[11],
        expires_us=row[12],
        sent_us=row[13],
        final_us=row[14],
        result=row[15],
        late_result=row[16],
        idempotency_key=row[17],
        steps=steps,
    )


def _steps(connection: sqlite3.Connection, workgroup: str, no: int) -> tuple[StepRow, ...]:
    rows = connection.execute(
        "SELECT step, time_us, stored_us, note, applied FROM command_step WHERE workgroup = ? AND command = ? ORDER BY n",
        (workgroup, no),
    )
    return tuple(
        StepRow(step=step, time_us=time_us, stored_us=stored_us, note=note, applied=bool(applied))
        for step, time_us, stored_us, note, applied in rows
    )


def _find(connection: sqlite3.Connection, workgroup: str, command_id: str) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = connection.execute(
        f"SELECT {_COLUMNS} FROM command WHERE workgroup = ? AND id = ?", (workgroup, command_id)
    ).fetchone()
    return row


def _full(connection: sqlite3.Connection, row: Sequence[Any]) -> CommandRow:
    return _command(row, _steps(connection, row[1], row[0]))


def _select(connection: sqlite3.Connection, where: str, values: Iterable[Any]) -> Commands:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM command WHERE {where}", tuple(values)).fetchall()
    return [_full(connection, row) for row in rows]


def _note(
    connection: sqlite3.Connection,
    workgroup: str,
    no: int,
    step: str,
    time_us: int,
    now_us: int,
    note: str,
    *,
    applied: bool = True,
) -> None:
    connection.execute(
        "INSERT INTO command_step SELECT ?, ?, n, ?, ?, ?, ?, ? FROM (SELECT coalesce(max(n), 0) + 1 AS n"
        " FROM command_step WHERE workgroup = ? AND command = ?) WHERE n <= ?",
        (workgroup, no, step, time_us, now_us, note, applied, workgroup, no, MAX_STEPS),
    )


def _become(connection: sqlite3.Connection, row: Sequence[Any], state: CommandState, now_us: int, note: str) -> None:
    """The hub's own transitions: the step is named as the state."""
    connection.execute(
        "UPDATE command SET state = ?, final_us = ? WHERE no = ? AND state = ?",
        (state, now_us if state in rules.FINAL else None, row[0], row[8]),
    )
    _note(connection, row[1], row[0], state, now_us, now_us, note)


def apply_step(
    connection: sqlite3.Connection,
    workgroup: str,
    device_id: str,
    command_id: str,
    step: str,
    time_us: int,
    result: str | None,
    note: str,
    now_us: int,
) -> StepOutcome:
    """See :meth:`towline.store.base.LedgerStore.apply_step`; within the caller's transaction."""
    row = _find(connection, workgroup, command_id)
    if row is None or row[3] != device_id:
        return StepOutcome(command_id=command_id, step=step, applied=False, reason="unknown_command", command=None)
    no, state, expires_us = row[0], row[8], row[12]
    move = rules.move(state, step, alive=now_us < expires_us)
    if move.state is not None:
        connection.execute(
            "UPDATE command SET state = ?, final_us = ?, result = coalesce(?, result) WHERE no = ? AND state = ?",
            (move.state, now_us if move.state in rules.FINAL else None, result, no, state),
        )
    elif move.reason == "late":
        connection.execute(
            "UPDATE command SET late_result = coalesce(late_result, ?) WHERE no = ?", (result or "null", no)
        )
    if move.reason not in ("repeated", "unknown_step"):
        _note(connection, workgroup, no, step, time_us, now_us, note, applied=move.state is not None)
    after = _find(connection, workgroup, command_id)
    return StepOutcome(
        command_id=command_id,
        step=step,
        applied=move.state is not None,
        reason=move.reason,
        command=_full(connection, after) if after else None,
    )


class SqliteLedger:
    """Fulfils :class:`towline.store.base.LedgerStore`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def create(self, workgroup: str, command: NewCommand) -> Created:
        def work(connection: sqlite3.Connection) -> Created:
            device = (workgroup, command.device_id)
            if not connection.execute("SELECT 1 FROM device WHERE workgroup = ? AND id = ?", device).fetchone():
                raise NotFound("device.unknown", f"there is no device {command.device_id}")
            if command.idempotency_key is not None:
                known = _select(
                    connection,
                    "workgroup = ? AND device_id = ? AND idempotency_key = ?",
                    (*device, command.idempotency_key),
                )
                if known:
                    return _repeated(known[0], command)
            if _find(connection, workgroup, command.id) is not None:
                raise Conflict("command.exists", f"there is a command {command.id} already")
            connection.execute(
                "INSERT INTO command (workgroup, id, device_id, app_guid, module, name, params, state, user_id, user_name,"
                " created_us, expires_us, idempotency_key) VALUES (?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?)",
                (
                    workgroup,
                    command.id,
                    command.device_id,
                    command.app_guid,
                    command.module,
                    command.name,
                    command.params,
                    command.user_id,
                    command.user_name,
                    command.created_us,
                    command.expires_us,
                    command.idempotency_key,
                ),
            )
            row = _must_find(connection, workgroup, command.id)
            _note(connection, workgroup, row[0], "queued", command.created_us, command.created_us, "")
            return Created(command=_full(connection, row), created=True)

        return await self._access.write(work)

    async def get(self, workgroup: str, command_id: str) -> CommandRow | None:
        def query(connection: sqlite3.Connection) -> CommandRow | None:
            row = _find(connection, workgroup, command_id)
            return None if row is None else _full(connection, row)

        return await self._access.read(query)

    async def list(
        self,
        workgroup: str,
        device_id: str | None = None,
        *,
        states: Sequence[CommandState] | None = None,
        limit: int = 20,
        before: str | None = None,
    ) -> Page[CommandRow]:
        check_limit(limit)

        def query(connection: sqlite3.Connection) -> Page[CommandRow]:
            where, values = ["workgroup = ?"], [workgroup]
            if device_id is not None:
                where.append("device_id = ?")
                values.append(device_id)
            if states is not None:
                where.append(f"state IN ({', '.join('?' * len(states))})")
                values += states
            if before is not None:
                where.append("no < (SELECT no FROM command WHERE workgroup = ? AND id = ?)")
                values += [workgroup, before]
            found = _select(connection, f"{' AND '.join(where)} ORDER BY no DESC LIMIT ?", [*values, limit + 1])
            return Page(items=found[:limit], next=found[limit - 1].id if len(found) > limit else None)

        return await self._access.read(query)

    async def mark_sent(self, workgroup: str, command_id: str, now_us: int) -> CommandRow | None:
        def work(connection: sqlite3.Connection) -> CommandRow | None:
            changed = connection.execute(
                "UPDATE command SET state = 'sent', sent_us = ?"
                " WHERE workgroup = ? AND id = ? AND state = 'queued' AND expires_us > ?",
                (now_us, workgroup, command_id, now_us),
            ).rowcount
            if not changed:
                return None
            row = _must_find(connection, workgroup, command_id)
            _note(connection, workgroup, row[0], "sent", now_us, now_us, "")
            return _full(connection, row)

        return await self._access.write(work)

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
        return await self._access.write(
            lambda connection: apply_step(
                connection, workgroup, device_id, command_id, step, time_us, result, note, now_us
            )
        )

    async def cancel(self, workgroup: str, command_id: str, note: str, now_us: int) -> CommandRow:
        def work(connection: sqlite3.Connection) -> CommandRow:
            row = _must_find(connection, workgroup, command_id)
            if row[8] != "queued":
                raise Conflict("command.not_queued", f"only a queued command can be cancelled; this one is {row[8]}")
            _become(connection, row, "cancelled", now_us, note)
            return _full(connection, _must_find(connection, workgroup, command_id))

        return await self._access.write(work)

    async def mark_unknown(self, workgroup: str, command_id: str, note: str, now_us: int) -> CommandRow | None:
        def work(connection: sqlite3.Connection) -> CommandRow | None:
            row = _must_find(connection, workgroup, command_id)
            if row[8] not in rules.UNDERWAY:
                return None
            _become(connection, row, "unknown", now_us, note)
            return _full(connection, _must_find(connection, workgroup, command_id))

        return await self._access.write(work)

    async def expire_due(self, now_us: int, limit: int = 500) -> Commands:
        return await self._all_due("state = 'queued'", now_us, "expired", "expired before it was sent", limit, now_us)

    async def unknown_due(self, now_us: int, grace_us: int, limit: int = 500) -> Commands:
        note = "no final word from the agent in time"
        return await self._all_due(f"state IN {_UNDERWAY}", now_us - grace_us, "unknown", note, limit, now_us)

    async def _all_due(
        self, where: str, bound_us: int, state: CommandState, note: str, limit: int, now_us: int
    ) -> Commands:
        def work(connection: sqlite3.Connection) -> Commands:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM command WHERE {where} AND expires_us <= ? ORDER BY expires_us LIMIT ?",
                (bound_us, limit),
            ).fetchall()
            for row in rows:
                _become(connection, row, state, now_us, note)
            return [_full(connection, _must_find(connection, row[1], row[2])) for row in rows]

        return await self._access.write(work)

    async def queued(self, workgroup: str, device_id: str, now_us: int, limit: int = 100) -> Commands:
        return await self._of_device(workgroup, device_id, "state = 'queued' AND expires_us > ?", now_us, limit)

    async def to_resend(self, workgroup: str, device_id: str, now_us: int, limit: int = 100) -> Commands:
        return await self._of_device(workgroup, device_id, "state = 'sent' AND expires_us > ?", now_us, limit)

    async def to_query(self, workgroup: str, device_id: str, now_us: int, limit: int = 100) -> Commands:
        where = f"(state = 'unknown' OR state IN {_UNDERWAY} AND expires_us <= ?)"
        return await self._of_device(workgroup, device_id, where, now_us, limit)

    async def _of_device(self, workgroup: str, device_id: str, where: str, now_us: int, limit: int) -> Commands:
        return await self._access.read(
            lambda connection: _select(
                connection,
                f"workgroup = ? AND device_id = ? AND {where} ORDER BY no LIMIT ?",
                (workgroup, device_id, now_us, limit),
            )
        )

    async def sweep(self, before_us: int, limit: int = 1000) -> int:
        def work(connection: sqlite3.Connection) -> int:
            # Numbers follow creation, so the oldest come first and the scan ends at the first that stays.
            rows = connection.execute(
                "SELECT no, workgroup, created_us FROM command ORDER BY no LIMIT ?", (limit,)
            ).fetchall()
            old = [(workgroup, no) for no, workgroup, created_us in rows if created_us < before_us]
            connection.executemany("DELETE FROM command_step WHERE workgroup = ? AND command = ?", old)
            connection.executemany("DELETE FROM command WHERE workgroup = ? AND no = ?", old)
            return len(old)

        return await self._access.write(work)


def _must_find(connection: sqlite3.Connection, workgroup: str, command_id: str) -> tuple[Any, ...]:
    row = _find(connection, workgroup, command_id)
    if row is None:
        raise NotFound("command.unknown", f"there is no command {command_id}")
    return row


def _repeated(known: CommandRow, command: NewCommand) -> Created:
    same = (known.app_guid, known.module, known.name, known.params)
    if same != (command.app_guid, command.module, command.name, command.params):
        raise Conflict(
            "command.idempotency_mismatch",
            "this idempotency key was used for another command",
            where="Idempotency-Key",
        )
    return Created(command=known, created=False)
