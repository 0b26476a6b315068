# SPDX-License-Identifier: Apache-2.0
"""Plugin commands and their ledger: checked against the declaration, written, sent once, followed to their end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from towline.clock import US_PER_SECOND
from towline.errors import Conflict, InvalidInput, NotFound
from towline.hub import events, peers
from towline.hub.actor import Actor
from towline.hub.core import Core
from towline.hub.declarations import Declarations
from towline.hub.identity import unknown_device
from towline.hub.params import Params, check_size, validate
from towline.hub.session import Session
from towline.hub.views import FINAL_STATES, CommandStepView, CommandView, Page
from towline.ids import command_id
from towline.protocols.link import messages as m
from towline.protocols.link.limits import MAX_COMMAND_LIFE_S
from towline.store.rows import CommandRow, NewCommand, StepOutcome

if TYPE_CHECKING:
    from towline.hub.links import Links

_COMMAND_ID = re.compile(r"[0-9a-f]{40}")
_BATCH = 100
_ASKED = 1000
"""Commands whose fate is asked for at a sign-in; those that stay unknown must not hide the others."""
_NUDGED = 200
RESEND_S = 10
"""How long a command may be on its way to an agent that is connected before it is sent again."""
UNKNOWN_GRACE_S = 75
"""A command delivered in the last second of its life may take a minute to answer; then it is UNKNOWN."""


class _ParamValue(msgspec.Struct):
    name: str
    value: str | bool


_params_decoder = msgspec.json.Decoder(list[_ParamValue])


def view(row: CommandRow) -> CommandView:
    """A ledger row as doors show it."""
    return CommandView(
        id=row.id,
        device_id=row.device_id,
        app_guid=row.app_guid,
        module=row.module,
        name=row.name,
        params={param.name: param.value for param in _params_decoder.decode(row.params)},
        state=row.state,
        final=row.state in FINAL_STATES,
        created_us=row.created_us,
        expires_us=row.expires_us,
        user=row.user_name,
        steps=[CommandStepView(state=step.step, time_us=step.time_us, note=step.note) for step in row.steps],
        result=row.result,
        late_result=row.late_result,
    )


class Commands:
    """Use cases about commands."""

    def __init__(self, core: Core, links: Links, declarations: Declarations) -> None:
        self._core = core
        self._links = links
        self._declarations = declarations

    async def submit(
        self,
        actor: Actor,
        device_id: str,
        app_guid: str,
        module: str,
        name: str,
        params: Params = (),
        expires_s: int | None = None,
        idempotency_key: str | None = None,
    ) -> CommandView:
        """Write a command into the ledger and send it if the device is there.

        InvalidInput names the JSON path and the rule; NotFound ``device.unknown``, ``plugin.unknown``,
        ``command.undeclared``. The same ``idempotency_key`` for the same device answers the first command (Conflict
        ``command.idempotency_mismatch`` when it was for something else).
        """
        core = self._core
        core.check(actor, "commands.submit")
        life = core.settings.command_expiry_seconds if expires_s is None else expires_s
        if not 1 <= life <= MAX_COMMAND_LIFE_S:
            raise InvalidInput(
                "command.expiry", f"a command lives 1 to {MAX_COMMAND_LIFE_S} s, not {life}", where="$.expires_in_s"
            )
        if idempotency_key is not None and not 1 <= len(idempotency_key) <= 200:
            raise InvalidInput("command.idempotency_key", "an idempotency key has 1 to 200 characters")
        app_guid = app_guid.lower()
        declaration = await self._declarations.get(actor.workgroup, device_id, app_guid)
        index = declaration.modules.get(module)
        command = index.commands.get(name) if index is not None else None
        if index is None or command is None:
            what = f"module {module}" if index is None else f"command {name} in module {module}"
            raise NotFound("command.undeclared", f"the plugin {declaration.app_name} declares no {what}")
        values = validate(index, command, params)
        new_id = command_id(core.random)
        check_size(app_guid, new_id, module, name, values)
        now_us = core.clock.now_us()
        created = await core.store.ledger.create(
            actor.workgroup,
            NewCommand(
                id=new_id,
                device_id=device_id,
                app_guid=app_guid,
                module=module,
                name=name,
                params=msgspec.json.encode([_ParamValue(key, value) for key, value in values.items()]).decode(),
                user_id=actor.user_id,
                user_name=actor.name,
                created_us=now_us,
                expires_us=now_us + life * US_PER_SECOND,
                idempotency_key=idempotency_key,
            ),
        )
        if not created.created:
            return view(created.command)
        core.counters["commands.submitted"] += 1
        self.announce(created.command)
        # The command is written and goes its way whatever happens to this caller; the log of who did it comes first.
        await core.audit(
            actor, "command.submit", "command", new_id, device=device_id, plugin=app_guid, module=module, name=name
        )
        sent = await self._send_now(created.command)
        return view(sent or created.command)

    async def get(self, actor: Actor, command_id: str) -> CommandView:
        """NotFound ``command.unknown``."""
        self._core.check(actor, "commands.get")
        return view(await self._row(actor, command_id))

    async def list(self, actor: Actor, device_id: str, limit: int = 20, before: str | None = None) -> Page[CommandView]:
        """Newest first; ``before`` is a former page's ``next``, which may have been swept away meanwhile.

        NotFound ``device.unknown``, InvalidInput ``page.bad_cursor``.
        """
        self._core.check(actor, "commands.list")
        if before is not None and not _COMMAND_ID.fullmatch(before):
            raise InvalidInput("page.bad_cursor", "not a cursor from a former page", where="before")
        if await self._core.store.devices.get(actor.workgroup, device_id) is None:
            raise unknown_device(device_id)
        page = await self._core.store.ledger.list(actor.workgroup, device_id, limit=limit, before=before)
        return Page(items=[view(row) for row in page.items], next=page.next)

    async def cancel(self, actor: Actor, command_id: str) -> CommandView:
        """A queued command is cancelled at once.

        Once it was sent only the agent knows whether it still can be: it is asked, and the state changes when it answers
        that the command never ran. Conflict ``command.sent`` when the device is not there to be asked,
        ``command.final`` when the command has ended.
        """
        core = self._core
        core.check(actor, "commands.cancel")
        row = await self._row(actor, command_id)
        if row.state == "queued":
            try:
                cancelled = await core.store.ledger.cancel(
                    actor.workgroup, command_id, f"by {actor.name}", core.clock.now_us()
                )
            except Conflict:  # sent a moment ago
                row = await self._row(actor, command_id)
            else:
                self.announce(cancelled)
                await core.audit(actor, "command.cancel", "command", command_id, device=row.device_id)
                return view(cancelled)
        if row.state in FINAL_STATES:
            raise Conflict("command.final", f"the command has ended: {row.state}")
        query = self._query([row], cancel=True)
        here = self._links.to_device(row.workgroup, row.device_id, query)
        presence = None if here else await core.store.presence.get(row.workgroup, row.device_id)
        if not here and (presence is None or presence.state != "online"):
            raise Conflict(
                "command.sent",
                "the command was sent, and the device is not there to say whether it ran",
                hint="its state follows when the device is back",
            )
        await core.audit(actor, "command.cancel_asked", "command", command_id, device=row.device_id)
        return view(row)

    # -- towards the device --------------------------------------------------------------------------------------

    async def welcomed(self, session: Session) -> None:
        """The link is signed in (again): resend what the agent has not confirmed, send what waits, ask for the rest."""
        ledger, now_us = self._core.store.ledger, self._core.clock.now_us()
        where = (session.workgroup, session.device_id)
        for row in await ledger.to_resend(*where, now_us, _BATCH):
            self._core.counters["commands.resent"] += 1
            self._send(session, row)
        await self.dispatch(session)
        lost = await ledger.to_query(*where, now_us, _ASKED)
        for at in range(0, len(lost), _BATCH):
            self._links.send(session, self._query(lost[at : at + _BATCH]))

    async def dispatch(self, session: Session) -> None:
        """Send what is queued for the session's device."""
        ledger = self._core.store.ledger
        while session.state == "signed_in":
            rows = await ledger.queued(session.workgroup, session.device_id, self._core.clock.now_us(), _BATCH)
            for row in rows:
                await self._mark_and_send(session, row)
            if len(rows) < _BATCH:
                return

    async def _send_now(self, row: CommandRow) -> CommandRow | None:
        session = self._links.devices.get(row.device_id)
        if session is None:
            self._links.to_hubs(peers.Dispatch(row.device_id))
            return None
        return await self._mark_and_send(session, row)

    async def _mark_and_send(self, session: Session, row: CommandRow) -> CommandRow | None:
        """Compare-and-set to ``sent``, then send: whoever gets the row sends it, nobody else."""
        sent = await self._core.store.ledger.mark_sent(row.workgroup, row.id, self._core.clock.now_us())
        if sent is not None:
            self.announce(sent)
            self._send(session, sent)
        return sent

    def _send(self, session: Session, row: CommandRow) -> None:
        self._core.counters["commands.sent"] += 1
        remaining = (row.expires_us - self._core.clock.now_us()) / US_PER_SECOND
        command = m.Command(
            command_id=row.id,
            app_guid=row.app_guid,
            module=row.module,
            name=row.name,
            params=row.params.encode(),
            expires_in_s=max(remaining, 0.001),
            sent_s_ago=self._sent_s_ago(row),
        )
        self._links.send(session, m.encode(command))

    def _query(self, rows: Sequence[CommandRow], *, cancel: bool = False) -> bytes:
        ages = [self._sent_s_ago(row) for row in rows]
        return m.encode(m.CommandQuery(command_ids=[row.id for row in rows], cancel=cancel, sent_s_ago=ages))

    def _sent_s_ago(self, row: CommandRow) -> float:
        return 0.0 if row.sent_us is None else max(0.0, (self._core.clock.now_us() - row.sent_us) / US_PER_SECOND)

    # -- from the device -----------------------------------------------------------------------------------------

    def on_steps(self, workgroup: str, outcomes: Sequence[StepOutcome]) -> None:
        """Steps that a batch brought, already in the ledger."""
        for outcome in outcomes:
            if outcome.applied or outcome.reason == "late":
                assert outcome.command is not None
                self.announce(outcome.command)
            else:
                self._core.counters[f"commands.step_{outcome.reason}"] += 1

    def announce(self, row: CommandRow) -> None:
        """Tell the doors of a row's new state."""
        self._core.announce(events.CommandChanged(workgroup=row.workgroup, device_id=row.device_id, command=view(row)))

    # -- sweeps --------------------------------------------------------------------------------------------------

    async def expire(self) -> None:
        """Queued commands whose life is over are EXPIRED: they never left."""
        for row in await self._core.store.ledger.expire_due(self._core.clock.now_us()):
            self._core.counters["commands.expired"] += 1
            await self._announce_whole(row)

    async def give_up(self) -> None:
        """Sent commands that were never answered are UNKNOWN; their agents, if there, are asked."""
        grace_us = UNKNOWN_GRACE_S * US_PER_SECOND
        for row in await self._core.store.ledger.unknown_due(self._core.clock.now_us(), grace_us):
            self._core.counters["commands.unknown"] += 1
            await self._announce_whole(row)
            self._links.to_device(row.workgroup, row.device_id, self._query([row]))

    async def nudge(self) -> None:
        """Send what should be under way: rows still queued though their device is here (a word between hubs was lost,
        the store was busy at sign-in), and sent ones that the agent has not confirmed for a while."""
        if not self._links.devices:
            return
        core = self._core
        late_us = core.clock.now_us() - RESEND_S * US_PER_SECOND
        for workgroup in await core.store.workgroups.list():
            page = await core.store.ledger.list(workgroup.id, states=["queued", "sent"], limit=_NUDGED)
            for row in reversed(page.items):
                session = self._links.devices.get(row.device_id)
                if session is None or row.created_us > late_us or row.expires_us <= core.clock.now_us():
                    continue
                if row.state == "queued":
                    await self._mark_and_send(session, row)
                elif row.sent_us is not None and row.sent_us <= late_us:
                    core.counters["commands.resent"] += 1
                    self._send(session, row)

    async def _announce_whole(self, row: CommandRow) -> None:
        whole = await self._core.store.ledger.get(row.workgroup, row.id)
        self.announce(whole or row)

    async def _row(self, actor: Actor, command_id: str) -> CommandRow:
        row = await self._core.store.ledger.get(actor.workgroup, command_id)
        if row is None:
            raise NotFound("command.unknown", f"there is no command {command_id}")
        return row
