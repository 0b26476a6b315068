# SPDX-License-Identifier: Apache-2.0
"""Commands: from the link through the journal to a plugin, and its acks back as steps (design: the ledger).

A command whose plugin is away waits here until it registers or the command expires. The minute runs from delivery;
an ack after it is recorded, with a note.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine, Mapping
from typing import Any

import msgspec

from towline.agent.journal import Entry, Journal
from towline.agent.plugincore import Plugin
from towline.clock import US_PER_SECOND, Clock
from towline.errors import TowlineError, Unavailable
from towline.protocols.link.messages import Command, CommandQuery
from towline.protocols.octo import messages as m
from towline.protocols.octo import outgoing as out
from towline.protocols.octo.command import CommandState, SentCommand
from towline.protocols.octo.errors import OctoError, Reason
from towline.protocols.octo.guard import Guard
from towline.protocols.octo.session import CommandAcked, LocalCommandAsked
from towline.protocols.octo.validate import check_command

log = logging.getLogger("towline.agent.commands")

_params = msgspec.json.Decoder(list[m.ParamValue])
_STEPS = {
    CommandState.ACCEPTED: "accepted",
    CommandState.REJECTED: "rejected",
    CommandState.ACKED: "acked",
    CommandState.ERRORED: "errored",
}
_RECALLED = {"accepted": CommandState.ACCEPTED}
_RETRY_S = 1.0
MAX_WAITING = 1000
"""Commands that wait for plugins which are away."""


class CommandDesk:
    """See the module.

    :ivar counters: ``received``, ``repeated``, ``delivered``, ``expired``, ``not_executed``, ``timed_out``, ``local``
    """

    def __init__(self, journal: Journal, guard: Guard, plugins: Mapping[str, Plugin], clock: Clock) -> None:
        self.counters: Counter[str] = Counter()
        self._journal = journal
        self._guard = guard
        self._plugins = plugins
        self._clock = clock
        self._waiting: dict[str, tuple[Entry, float]] = {}
        self._watched: set[str] = set()
        self._clients: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Take up what the journal holds: wait on, or be ready for late acks."""
        now_us, now = self._clock.now_us(), self._clock.monotonic()
        for entry in await self._journal.recover(now_us):
            if entry.state == "received":
                # Of a clock that went back meanwhile nothing is known but that no more than the whole life is left.
                left = min(entry.deadline_us - now_us, entry.deadline_us - entry.received_us)
                self._waiting[entry.command_id] = (entry, now + left / US_PER_SECOND)
                continue
            book = self._guard.of(entry.app_guid).commands
            book.sent(
                entry.command_id,
                module=entry.module,
                name=entry.name,
                now_us=entry.delivered_us or entry.received_us,
                state=_RECALLED.get(entry.state, CommandState.SENT),
            ).timed_out = entry.step in ("timed_out", "unknown")
            self._watched.add(entry.app_guid)

    # -- from the link -----------------------------------------------------------------------------------------------

    def command(self, command: Command) -> None:
        """COMMAND came."""
        self._spawn(self._receive(command))

    def query(self, query: CommandQuery) -> None:
        """COMMAND_QUERY came."""
        self._spawn(self._query(query))

    async def _receive(self, command: Command) -> None:
        # With its plugin there, one commit enters the command and its delivery.
        guid = command.app_guid.lower()
        plugin = self._plugins.get(guid)
        text = problem = None
        if len(self._waiting) >= MAX_WAITING:
            problem = f"{MAX_WAITING} commands wait on this device already"
        elif plugin is not None:
            try:
                text = self._render(command.command_id, command.module, command.name, command.params, plugin)
            except OctoError as error:
                problem = str(error)
        deliver = text is not None and command.expires_in_s > 0
        entry = await self._journal.receive(command, self._clock.now_us(), deliver=deliver)
        if entry is None:
            self.counters["repeated"] += 1
            return
        self.counters["received"] += 1
        if problem is not None:
            await self._end(entry, "not_executed", problem)
            return
        deadline = self._clock.monotonic() + (entry.deadline_us - entry.received_us) / US_PER_SECOND
        self._waiting[entry.command_id] = (entry, deadline)
        if text is not None and plugin is not None and deliver:
            await self._write(entry, plugin, text)
        elif guid in self._plugins:  # it registered meanwhile
            await self._deliver(entry, self._plugins[guid])

    async def _query(self, query: CommandQuery) -> None:
        ended = await self._journal.query(query, self._clock.now_us())
        for command_id in ended:
            self._waiting.pop(command_id, None)

    # -- to the plugin -----------------------------------------------------------------------------------------------

    def registered(self, plugin: Plugin) -> None:
        """A plugin is there: it gets what waits for it, oldest first."""
        waiting = [entry for entry, _ in self._waiting.values() if entry.app_guid == plugin.app_guid]
        if waiting:
            self._spawn(self._deliver_all(waiting, plugin))

    async def _deliver_all(self, entries: list[Entry], plugin: Plugin) -> None:
        for entry in entries:
            await self._deliver(entry, plugin)

    async def _deliver(self, entry: Entry, plugin: Plugin) -> None:
        try:
            text = self._render(entry.command_id, entry.module, entry.name, entry.params, plugin)
        except OctoError as error:
            await self._end(entry, "not_executed", str(error))
            return
        if await self._journal.delivering(entry.command_id):
            await self._write(entry, plugin, text)

    async def _write(self, entry: Entry, plugin: Plugin, text: str) -> None:
        """Hand over a command that the journal has as ``delivering``."""
        command_id = entry.command_id
        _, deadline = self._waiting.get(command_id, (entry, 0.0))
        if self._clock.monotonic() >= deadline:
            await self._journal.undelivered(command_id)  # the next tick lets it expire
            return
        successor = self._plugins.get(entry.app_guid)
        if successor is not plugin:
            await self._journal.undelivered(command_id)
            if successor is not None:
                self._spawn(self._deliver(entry, successor))
            return
        now_us = self._clock.now_us()
        book = self._guard.of(entry.app_guid).commands
        try:
            book.sent(command_id, module=entry.module, name=entry.name, now_us=now_us)
        except OctoError as error:
            await self._journal.undelivered(command_id)
            await self._end(entry, "not_executed", str(error))
            return
        if not plugin.send(text):
            book.forget(command_id)
            await self._journal.undelivered(command_id)
            return
        self._waiting.pop(command_id, None)
        self._watched.add(entry.app_guid)
        self.counters["delivered"] += 1
        # Queued before anything else of this command: an ack cannot be written down first.
        await self._journal.step(command_id, "delivered", now_us)

    def _render(self, command_id: str, module: str, name: str, params: bytes, plugin: Plugin) -> str:
        """The signed message; OctoError if the plugin has no such command or it would be too long."""
        _declares(plugin, module, name)
        try:
            values = _params.decode(params)
        except msgspec.MsgspecError as error:
            raise OctoError(Reason.SCHEMA, f"the parameters cannot be read: {error}") from None
        return out.command(
            plugin.key,
            app_guid=plugin.declaration.update.app_guid,
            module=module,
            name=name,
            params=values,
            command_id=command_id,
            now_us=self._clock.now_us(),
            limits=self._guard.limits,
        )

    async def _end(self, entry: Entry, step: str, note: str) -> None:
        await self._journal.step(entry.command_id, step, self._clock.now_us(), note=note)
        self._waiting.pop(entry.command_id, None)  # only now: should the disk refuse, the next tick tries again
        self.counters[step] += 1

    # -- acks --------------------------------------------------------------------------------------------------------

    def acked(self, plugin: Plugin, event: CommandAcked) -> None:
        """An ack that fits its command."""
        if event.step.command.source == "local":
            self._local_ack(plugin, event)
            return
        notes = [event.step.note] if event.step.note else []
        if event.step.late:
            notes.append("after the minute")
        result = None if event.result_json is None else event.result_json.encode()
        step, now_us = _STEPS[event.state], self._clock.now_us()
        self._spawn(
            self._write_step(event.command_id, step, now_us, result, "; ".join(notes)),
        )

    async def _write_step(self, command_id: str, step: str, now_us: int, result: bytes | None, note: str) -> None:
        while True:
            try:
                await self._journal.step(command_id, step, now_us, result=result, note=note)
                return
            except Unavailable as error:  # the disk: a result must not get lost
                if error.code == "agent.closed":
                    return
                await asyncio.sleep(_RETRY_S)

    # -- time --------------------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """Once a second: let what waited too long expire, and report what a plugin did not answer in its minute."""
        now, now_us = self._clock.monotonic(), self._clock.now_us()
        for entry, deadline in list(self._waiting.values()):
            if now >= deadline:
                away = "" if entry.app_guid in self._plugins else ": the plugin was not connected"
                await self._end(entry, "expired", f"it could not be delivered in its time{away}")
        for guid in list(self._watched):
            book = self._guard.of(guid).commands
            timed_out = book.newly_timed_out(now_us)
            while timed_out:
                late = timed_out[0]
                if late.source == "local":
                    self._local_timed_out(guid, late)
                else:
                    limit = self._guard.limits.command_timeout_s
                    note = f"the plugin did not answer within {limit} s"
                    try:
                        await self._journal.step(late.command_id, "timed_out", now_us, note=note)
                    except Unavailable:  # the disk; the next tick tries again
                        for one in timed_out:
                            one.timed_out = False
                        raise
                    self.counters["timed_out"] += 1
                del timed_out[0]
            if not book.open():
                self._watched.discard(guid)

    async def prune(self) -> None:
        """Forget what is older than 30 days."""
        await self._journal.prune(self._clock.now_us())

    # -- local commands ----------------------------------------------------------------------------------------------

    def local(self, plugin: Plugin, event: LocalCommandAsked) -> None:
        """A plugin asks for another's command (spec octo §3.10). OctoError ``command``, ``schema``: it cannot be."""
        target = self._plugins.get(event.target)
        if target is None:
            raise OctoError(Reason.COMMAND, f"plugin {event.target} is not connected", where="$.params.appGUID")
        _declares(target, event.module, event.name)
        now_us = self._clock.now_us()
        params = check_command(
            target.declaration,
            event.module,
            event.name,
            {param.name: param.value for param in event.params},
            where="$.params.commands[0].params",
            limits=self._guard.limits,
        )
        text = out.command(
            target.key,
            app_guid=target.declaration.update.app_guid,
            module=event.module,
            name=event.name,
            params=params,
            command_id=event.command_id,
            now_us=now_us,
            source="local",
            limits=self._guard.limits,
        )
        book = self._guard.of(event.target).commands
        book.sent(event.command_id, module=event.module, name=event.name, source="local", now_us=now_us)
        self._watched.add(event.target)
        if not target.send(text):
            book.forget(event.command_id)
            raise OctoError(Reason.COMMAND, "the plugin cannot take the command now", where="$.params.appGUID")
        self.counters["local"] += 1
        self._clients[event.command_id] = plugin.app_guid

    def _local_ack(self, plugin: Plugin, event: CommandAcked) -> None:
        client = self._plugins.get(self._clients.get(event.command_id, ""))
        if event.state.final:
            self._clients.pop(event.command_id, None)
        if client is None:
            return
        command = event.step.command
        self._answer(client, plugin.app_guid, command, str(event.state), event.result_json)

    def _local_timed_out(self, app_guid: str, command: SentCommand) -> None:
        """The client must not wait for ever. An ack that still comes goes nowhere."""
        self.counters["timed_out"] += 1
        client = self._plugins.get(self._clients.pop(command.command_id, ""))
        if client is not None:
            reason = f"the plugin did not answer within {self._guard.limits.command_timeout_s} s"
            result = msgspec.json.encode({"error": reason}).decode()
            self._answer(client, app_guid, command, CommandState.ERRORED, result)

    def _answer(self, client: Plugin, target: str, command: SentCommand, state: str, result_json: str | None) -> None:
        plugin = self._plugins.get(target)
        client.send(
            out.command_ack(
                client.key,
                app_guid=target if plugin is None else plugin.declaration.update.app_guid,
                module=command.module,
                name=command.name,
                command_id=command.command_id,
                state=state,
                result_json=result_json,
                now_us=self._clock.now_us(),
            )
        )

    # -- tasks -------------------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except TowlineError as error:
            log.error("a command could not be handled: %s", error)

    async def settle(self) -> None:
        """Wait for what is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)


def _declares(plugin: Plugin, module: str, name: str) -> None:
    index = plugin.declaration.modules.get(module)
    if index is None or name not in index.commands:
        raise OctoError(
            Reason.COMMAND,
            f"plugin {plugin.app_name} declares no command {name[:80]!r} in module {module[:80]!r}",
            where="$.params.commands[0].name",
        )
