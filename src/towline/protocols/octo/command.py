# SPDX-License-Identifier: Apache-2.0
"""The life of the commands sent to one plugin (spec octo §3.3)::

    SENT ──▶ ACCEPTED ──▶ ACKED | ERRORED     final
      └────▶ REJECTED                         final

Tolerated with a note, since published plugins do it: ACKED or ERRORED without ACCEPTED, REJECTED after ACCEPTED,
ACCEPTED twice. Refused: an id that is unknown or final, another module, source or command name. An ack that comes
after the minute is recorded; whoever shows the command as timed out leaves it so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from msgspec import UNSET

from towline.protocols.octo import messages as m
from towline.protocols.octo.errors import OctoError, Reason
from towline.protocols.octo.limits import DEFAULT_LIMITS, Limits

US = 1_000_000
KEEP_FINAL = 256
"""Final commands remembered, so that an ack too many is told "already final" instead of "unknown"."""


class CommandState(StrEnum):
    SENT = "SENT"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    ACKED = "ACKED"
    ERRORED = "ERRORED"

    @property
    def final(self) -> bool:
        return self in (CommandState.REJECTED, CommandState.ACKED, CommandState.ERRORED)


@dataclass(slots=True)
class SentCommand:
    """One command on its way through a plugin."""

    command_id: str
    module: str
    name: str
    source: str
    sent_us: int
    state: CommandState = CommandState.SENT
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What an ack did.

    :ivar command: the command after it
    :ivar note: a tolerated deviation, None if there was none
    :ivar late: the minute had passed
    """

    command: SentCommand
    state: CommandState
    note: str | None
    late: bool


class CommandBook:
    """The commands of one plugin, kept across its connections."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._open: dict[str, SentCommand] = {}
        self._final: dict[str, CommandState] = {}

    def sent(
        self,
        command_id: str,
        *,
        module: str,
        name: str,
        source: str = "remote",
        now_us: int,
        state: CommandState = CommandState.SENT,
    ) -> SentCommand:
        """Note a command that is about to be written to the plugin, or one recalled from a journal (``state``).

        :raises OctoError: ``command``: the id is in use or final
        """
        if command_id in self._open or command_id in self._final:
            raise OctoError(Reason.COMMAND, f"command {command_id} was sent already")
        entry = SentCommand(command_id, module, name, source, now_us, state)
        self._open[command_id] = entry
        return entry

    def forget(self, command_id: str) -> None:
        """Drop a command that could not be written after all."""
        self._open.pop(command_id, None)

    def open(self) -> list[SentCommand]:
        """Commands without a final ack, oldest first."""
        return list(self._open.values())

    def newly_timed_out(self, now_us: int) -> list[SentCommand]:
        """Commands whose minute has passed since the last call; each is returned once and stays open."""
        limit = now_us - self._limits.command_timeout_s * US
        late = [entry for entry in self._open.values() if not entry.timed_out and entry.sent_us <= limit]
        for entry in late:
            entry.timed_out = True
        return late

    def apply(self, ack: m.CommandAck, now_us: int) -> Step:
        """Move the command on.

        :raises OctoError: ``schema`` for a wrong commandState, ``command`` for an ack that fits no open command
        """
        entry = self._match(ack)
        state = _state(ack.command_state)
        note = None
        if entry.state is CommandState.SENT and state in (CommandState.ACKED, CommandState.ERRORED):
            note = f"{state} without ACCEPTED before it"
        elif entry.state is CommandState.ACCEPTED and state is CommandState.REJECTED:
            note = "REJECTED after ACCEPTED"
        elif entry.state is state:
            note = "ACCEPTED twice"
        entry.state = state
        late = entry.timed_out or now_us - entry.sent_us >= self._limits.command_timeout_s * US
        if state.final:
            del self._open[entry.command_id]
            self._final[entry.command_id] = state
            while len(self._final) > KEEP_FINAL:
                del self._final[next(iter(self._final))]
        return Step(entry, state, note, late)

    def _match(self, ack: m.CommandAck) -> SentCommand:
        entry = self._open.get(ack.command_id)
        at = "$.params.commandId"
        if entry is None:
            final = self._final.get(ack.command_id)
            shown = ack.command_id[:80]
            if final is not None:
                raise OctoError(Reason.COMMAND, f"command {shown!r} is already {final}", where=at)
            raise OctoError(Reason.COMMAND, f"no command {shown!r} was sent to this plugin", where=at)
        for path, got, expected in (
            ("moduleName", ack.module_name, entry.module),
            ("commandSource", ack.command_source, entry.source),
        ):
            if got != expected:
                raise OctoError(
                    Reason.COMMAND,
                    f"{got[:80]!r} does not match the command's {expected!r}",
                    where=f"$.params.{path}",
                )
        for number, item in enumerate([] if ack.command_acks is UNSET else ack.command_acks):
            if item.name != entry.name:
                raise OctoError(
                    Reason.COMMAND,
                    f"{item.name[:80]!r} is no command of this request, which asked for {entry.name!r}",
                    where=f"$.params.commandAcks[{number}].name",
                )
        return entry


def _state(text: str) -> CommandState:
    if text == CommandState.SENT or text not in _STATES:
        raise OctoError(
            Reason.SCHEMA,
            f"{text[:40]!r} is none of ACCEPTED, REJECTED, ACKED, ERRORED",
            where="$.params.commandState",
        )
    return CommandState(text)


_STATES = frozenset(state.value for state in CommandState)
