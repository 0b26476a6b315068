# SPDX-License-Identifier: Apache-2.0
"""The journal of commands: what was received, handed to a plugin, and finished; kept 30 days.

::

    received ──▶ delivering ──▶ delivered ──▶ accepted ──▶ acked | errored | rejected
       │              │
       │              └─ the agent died in between ──▶ unknown (a later ack still says what happened)
       └──▶ expired | not_executed

A command that was first sent before this journal began, and that it does not know, may have been lost with an earlier
one: it is entered as ``unknown`` and never runs.

``delivering`` is committed before the command is written to the plugin and ``delivered`` after, so a command that the
journal calls expired or not executed never ran. Every step goes to the spool's urgent lane in the same transaction.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from itertools import zip_longest

from towline.agent.database import Database
from towline.agent.spool import Outgoing
from towline.clock import US_PER_SECOND
from towline.protocols.link.items import CommandStep
from towline.protocols.link.limits import MAX_COMMAND_LIFE_S
from towline.protocols.link.messages import Command, CommandQuery

FINAL = frozenset({"acked", "errored", "rejected", "expired", "not_executed"})
_COLUMNS = (
    "command_id, app_guid, module, name, params, state, received_us, deadline_us, delivered_us, step, step_us, "
    "result, note"
)
_MAX_PARAMS = 64 * 1024
_BORN = "journal_born_us"
_LOST = "the device's journal is younger than the command; whether it ran is not known"


@dataclass(frozen=True, slots=True)
class Entry:
    """One command. ``state`` is where it is, ``step`` what the hub was told last."""

    command_id: str
    app_guid: str
    module: str
    name: str
    params: bytes
    state: str
    received_us: int
    deadline_us: int
    delivered_us: int | None
    step: str
    step_us: int
    result: bytes | None
    note: str


class Journal:
    """See the module. Methods are one transaction each."""

    def __init__(self, database: Database, outgoing: Outgoing) -> None:
        self._database = database
        self._outgoing = outgoing

    async def receive(self, command: Command, now_us: int, *, deliver: bool = False) -> Entry | None:
        """Enter a new command and report ``received``. One that is known is reported as it stands: None.

        :param deliver: it is about to be written to its plugin: enter it as ``delivering`` at once
        """
        life = min(max(command.expires_in_s, 0.0), MAX_COMMAND_LIFE_S)
        deadline = now_us + int(life * US_PER_SECOND)

        def receive(connection: sqlite3.Connection) -> Entry | None:
            known = _read(connection, command.command_id)
            if known is not None:
                self._report(connection, known)
                return None
            if _is_older(connection, command.sent_s_ago, now_us):
                lost = _unheard(command.command_id, "unknown", now_us, _LOST)
                _insert(connection, lost)
                self._report(connection, lost)
                return None
            entry = Entry(
                command.command_id,
                command.app_guid.lower(),
                command.module,
                command.name,
                command.params[:_MAX_PARAMS],
                "delivering" if deliver else "received",
                now_us,
                deadline,
                None,
                "received",
                now_us,
                None,
                "",
            )
            _insert(connection, entry)
            self._report(connection, entry)
            return entry

        return await self._database.run(receive)

    async def delivering(self, command_id: str) -> bool:
        """Before it is written to the plugin. False: it may not be any more."""
        return await self._database.run(
            lambda connection: (
                connection.execute(
                    "UPDATE command SET state = 'delivering' WHERE command_id = ? AND state = 'received'",
                    (command_id,),
                ).rowcount
                == 1
            )
        )

    async def undelivered(self, command_id: str) -> None:
        """It could not be written after all: it waits again."""

        def undo(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE command SET state = 'received' WHERE command_id = ? AND state = 'delivering'",
                (command_id,),
            )

        await self._database.run(undo)

    async def step(
        self, command_id: str, step: str, now_us: int, *, result: bytes | None = None, note: str = ""
    ) -> bool:
        """Move a command on and report it. False, and nothing reported, if it is final already or not known.

        ``timed_out`` is reported and leaves the state, since the plugin may still answer.
        """

        def move(connection: sqlite3.Connection) -> bool:
            entry = _read(connection, command_id)
            if entry is None or entry.state in FINAL:
                return False
            state = entry.state if step == "timed_out" else step
            delivered = now_us if step == "delivered" else entry.delivered_us
            connection.execute(
                "UPDATE command SET state = ?, delivered_us = ?, step = ?, step_us = ?, result = ?, note = ? "
                "WHERE command_id = ?",
                (state, delivered, step, now_us, result, note, command_id),
            )
            self._outgoing.add(connection, "urgent", [CommandStep(command_id, step, now_us, result, note)])
            return True

        return await self._database.run(move)

    async def query(self, query: CommandQuery, now_us: int) -> list[str]:
        """Report what became of these; those that will never run now because of this are returned.

        One that is not known here is entered as not executed, so that it is refused should it come after all; or as
        unknown, when it is older than this journal.
        """

        def answer(connection: sqlite3.Connection) -> list[str]:
            ended: list[str] = []
            for command_id, sent_s_ago in zip_longest(query.command_ids, query.sent_s_ago[: len(query.command_ids)]):
                entry = _read(connection, command_id)
                if entry is None:
                    entry = (
                        _unheard(command_id, "unknown", now_us, _LOST)
                        if _is_older(connection, sent_s_ago or 0.0, now_us)
                        else _unheard(command_id, "not_executed", now_us, "this device never received it")
                    )
                    _insert(connection, entry)
                    ended.append(command_id)
                elif query.cancel and entry.state == "received":
                    note = "cancelled before the plugin had it"
                    connection.execute(
                        "UPDATE command SET state = 'not_executed', step = 'not_executed', step_us = ?, note = ? "
                        "WHERE command_id = ?",
                        (now_us, note, command_id),
                    )
                    ended.append(command_id)
                    entry = _read(connection, command_id)
                    assert entry is not None
                self._report(connection, entry)
            return ended

        return await self._database.run(answer)

    async def recover(self, now_us: int) -> list[Entry]:
        """After a start: ``delivering`` becomes unknown; returns all that is not final, oldest first."""

        def recover(connection: sqlite3.Connection) -> list[Entry]:
            connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)", (_BORN, str(now_us)))
            _forget(connection, now_us)
            note = "the agent ended while it handed the command to the plugin"
            cut = connection.execute("SELECT command_id FROM command WHERE state = 'delivering'").fetchall()
            for (command_id,) in cut:
                connection.execute(
                    "UPDATE command SET state = 'unknown', step = 'unknown', step_us = ?, note = ?, "
                    "delivered_us = ? WHERE command_id = ?",
                    (now_us, note, now_us, command_id),
                )
                self._outgoing.add(connection, "urgent", [CommandStep(command_id, "unknown", now_us, None, note)])
            marks = ", ".join("?" * len(FINAL))
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM command WHERE state NOT IN ({marks}) ORDER BY received_us",  # noqa: S608
                tuple(FINAL),
            )
            return [Entry(*row) for row in rows]

        return await self._database.run(recover)

    async def prune(self, now_us: int) -> int:
        """Forget what is older than 30 days; how many that were."""
        return await self._database.run(lambda connection: _forget(connection, now_us))

    async def entry(self, command_id: str) -> Entry | None:
        """One command as it stands."""
        return await self._database.run(lambda connection: _read(connection, command_id))

    def _report(self, connection: sqlite3.Connection, entry: Entry) -> None:
        step = CommandStep(entry.command_id, entry.step, entry.step_us, entry.result, entry.note)
        self._outgoing.add(connection, "urgent", [step])


def _unheard(command_id: str, state: str, now_us: int, note: str) -> Entry:
    """The entry of a command that is known by its id only."""
    return Entry(command_id, "", "", "", b"[]", state, now_us, now_us, None, state, now_us, None, note)


def _is_older(connection: sqlite3.Connection, sent_s_ago: float, now_us: int) -> bool:
    """Whether a command was first sent before this journal began."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (_BORN,)).fetchone()
    return row is not None and sent_s_ago * US_PER_SECOND > max(0, now_us - int(row[0]))


def _forget(connection: sqlite3.Connection, now_us: int) -> int:
    """What still waits stays, whatever the clock says: it has to expire, and be reported."""
    oldest = now_us - MAX_COMMAND_LIFE_S * US_PER_SECOND
    return connection.execute(
        "DELETE FROM command WHERE received_us < ? AND state NOT IN ('received', 'delivering')", (oldest,)
    ).rowcount


def _read(connection: sqlite3.Connection, command_id: str) -> Entry | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM command WHERE command_id = ?", (command_id,)).fetchone()  # noqa: S608
    return Entry(*row) if row else None


def _insert(connection: sqlite3.Connection, entry: Entry) -> None:
    connection.execute(
        f"INSERT INTO command ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            entry.command_id,
            entry.app_guid,
            entry.module,
            entry.name,
            entry.params,
            entry.state,
            entry.received_us,
            entry.deadline_us,
            entry.delivered_us,
            entry.step,
            entry.step_us,
            entry.result,
            entry.note,
        ),
    )
