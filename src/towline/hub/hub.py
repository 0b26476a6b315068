# SPDX-License-Identifier: Apache-2.0
"""The hub: devices, presence, ingest, commands, plugins, users, audit, joined to one endpoint on the bus."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable

import msgspec

from towline import __version__
from towline.bus.base import Bus
from towline.clock import Clock
from towline.errors import Conflict, InvalidInput, TowlineError, Unavailable
from towline.hub import events, peers
from towline.hub.actor import Actor
from towline.hub.audit import Audit
from towline.hub.commands import Commands
from towline.hub.core import Core, log
from towline.hub.declarations import Declarations
from towline.hub.devices import Devices
from towline.hub.execs import Execs
from towline.hub.gateway import Gateway
from towline.hub.identity import Enrolments, Identity
from towline.hub.ingest import Ingest
from towline.hub.links import Links
from towline.hub.passwords import Passwords, generate
from towline.hub.plugins import Plugins
from towline.hub.presence import Presence
from towline.hub.records import Records
from towline.hub.sealing import Sealer
from towline.hub.session import Session
from towline.hub.settings import HubSettings
from towline.hub.sweeps import Sweeps
from towline.hub.users import Users
from towline.ids import WORKGROUP, RandomBytes
from towline.protocols.link.frames import Frame, LinkError
from towline.protocols.link.items import Batch
from towline.store.base import Store

_OF_ACCESS = (b"token_ended", b"access_changed")


class Bootstrapped(msgspec.Struct, frozen=True, kw_only=True):
    """What :meth:`Hub.bootstrap` made. ``password`` is the new admin's, to print once; None when users exist already.

    ``enrolment_line(name)`` makes a line for this installation's own agent.
    """

    workgroup: str
    admin: str
    password: str | None
    enrolment_line: Callable[[str | None], Awaitable[str]]


class Hub:
    """One hub process. ``secret`` is the content of the data directory's ``secret.key`` (32 bytes)."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        clock: Clock,
        settings: HubSettings,
        *,
        secret: bytes,
        random: RandomBytes = secrets.token_bytes,
        passwords: Passwords | None = None,
    ) -> None:
        self._bus = bus
        self._core = core = Core(store, clock, settings, Sealer(secret, random), random)
        self._passwords = passwords or Passwords()
        self.presence = Presence(core)
        self.enrolments = Enrolments(core)
        self.links = Links(core, self.presence, self.enrolments)
        self.commands = Commands(core, self.links, Declarations(core))
        self.plugins = Plugins(core, self.links)
        self.execs = Execs(core, self.links)
        self.devices = Devices(core, self.links)
        self.records = Records(core)
        self.users = Users(core, self._passwords)
        self.audit = Audit(core)
        self.gateway = Gateway(core)
        self._ingest = Ingest(core, self.links, self.commands.on_steps)
        self._sweeps = Sweeps(core, self.links, self.presence, self.commands, self.users.tokens)
        self.links.families = _Families(self)
        self._started = False
        self._verifications = 0

    @property
    def settings(self) -> HubSettings:
        """As given."""
        return self._core.settings

    @property
    def identity(self) -> Identity:
        """Known once started."""
        return self.enrolments.identity

    async def start(self) -> None:
        """Make or load the identity key, join the bus, ask who is connected, start the sweeps."""
        core = self._core
        self.enrolments.identity = await Identity.load(core)
        core.hub_id = self.identity.hub_id
        # Agents are answered only when it is known whether other hubs live; until then they are told to come again.
        info = {"version": __version__, "hub_id": core.hub_id}
        core.endpoint = await self._bus.open("hub", self.links, info=info, events=True)
        self.links.joined()
        if not self.links.other_hubs():
            await self._begin_verifying()
        self.links.login.identity = self.identity
        core.spawn(self._sweeps.run(), "sweeps", endless=True)
        self._started = True

    async def bootstrap(self, workgroup: str = "main", admin: str = "admin") -> Bootstrapped:
        """Make the workgroup and its first user unless they exist."""
        core = self._core
        if not WORKGROUP.fullmatch(workgroup):
            raise InvalidInput("workgroup.bad_id", f"a workgroup's id is 2 to 32 of a-z, 0-9 and -, not {workgroup!r}")
        if await core.store.workgroups.get(workgroup) is None:
            try:
                await core.store.workgroups.create(workgroup, workgroup, core.clock.now_us())
            except Conflict:  # another hub of this installation was quicker
                log.info("workgroup %s was made by another hub", workgroup)
        system = Actor.system(workgroup)
        password = None
        if not await core.store.users.list(workgroup):
            password = generate(core.random)
            try:
                await self.users.create(system, admin, password, ["owner"], "Administrator")
            except Conflict:
                password = None

        async def enrolment_line(name: str | None = None) -> str:
            return (await self.enrolments.create(system, name)).line

        return Bootstrapped(workgroup=workgroup, admin=admin, password=password, enrolment_line=enrolment_line)

    async def close(self) -> None:
        """Stop the sweeps, end executions, leave the bus."""
        if self._started:
            try:
                await self._sweeps.release()
            except TowlineError as error:
                log.warning("the lease of the sweeps could not be given back: %s", error)
        self.execs.close()
        await self._core.close()
        if self._started:
            await self._core.endpoint.close()
        self._passwords.close()
        self._started = False

    def counters(self) -> dict[str, int]:
        """Everything counted since the start (the store's too), by dotted name, and what there is now."""
        now = {
            "links.sessions": len(self.links.sessions),
            "links.signed_in": len(self.links.devices),
            "execs.running": len(self.execs.running),
        }
        stored = {f"store.{name}": count for name, count in self._core.store.counters().items()}
        return {**self._core.counters, **stored, **now}

    async def _begin_verifying(self) -> None:
        """What is stored may be out of date: nobody is known to be connected until a node or another hub says so."""
        self.links.verifying = True
        waiting = await self.presence.begin_verifying()
        if waiting:
            log.info("verifying which of %d devices are connected", waiting)
        self.links.to_hubs(peers.Verify())
        self.links.rosters.ask_all()
        self._core.spawn(self._end_verifying(decide=True), "verifying", endless=True)

    async def _end_verifying(self, *, decide: bool) -> None:
        self._verifications += 1
        this = self._verifications
        await asyncio.sleep(self._core.settings.verifying_seconds)
        if this != self._verifications:  # another one began meanwhile and will end it
            return
        self.links.verifying = False
        if decide:
            await self.presence.end_verifying()

    def _verify_again(self) -> None:
        """Another hub asks: confirm what is served here."""
        self.links.verifying = True
        self.links.rosters.ask_all()
        self._core.spawn(self._end_verifying(decide=False), "verifying", endless=True)

    def _hub_left(self, address: str) -> None:
        """What nodes told the hub that is gone may never have been stored: the oldest one left looks."""
        if not self._started:  # it looks by itself in a moment
            return
        self.execs.hub_left(address)
        hubs = self._core.endpoint.members("hub")
        if hubs and hubs[0].address == self._core.endpoint.address:
            self._core.spawn(self._begin_verifying(), "verifying")


class _Families:
    """Hands on what links hear; see :class:`towline.hub.links.Families`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def batch(self, session: Session, batch: Batch, done: Callable[[], None]) -> None:
        self._hub._ingest.batch(session, batch, done)

    async def bad_batch(self, session: Session, frame: Frame, error: LinkError) -> bool:
        return await self._hub._ingest.bad_batch(session, frame, error)

    async def key_asked(self, session: Session, app_guid: str) -> None:
        await self._hub.plugins.key_asked(session, app_guid)

    async def welcomed(self, session: Session) -> None:
        await self._hub.plugins.welcomed(session)
        await self._hub.commands.welcomed(session)

    def on_peer(self, sender: str, message: peers.PeerMessage) -> None:
        hub = self._hub
        if isinstance(message, peers.Verify):
            hub._verify_again()
        elif isinstance(message, peers.ExecOutput):
            hub.execs.output(message)
        elif isinstance(message, peers.ExecEnd):
            hub.execs.end(message)
        elif isinstance(message, peers.ExecStop):
            hub.execs.stop(message.exec_id, message.reason)
        elif isinstance(message, peers.Kick):
            hub.links.kick(message.device_id, message.code, message.message, here_only=True)
        elif isinstance(message, peers.Relay):
            hub.links.to_device(message.workgroup, message.device_id, message.data, here_only=True)
        elif isinstance(message, peers.Dispatch):
            session = hub.links.devices.get(message.device_id)
            if session is not None:
                hub._core.spawn(hub.commands.dispatch(session), "dispatch")

    async def on_peer_call(self, sender: str, message: peers.PeerMessage) -> bytes:
        if isinstance(message, peers.ExecStart):
            return self._hub.execs.serve(sender, message)
        raise Unavailable("hub.peer", "this hub does not answer that")

    def on_hub_left(self, address: str) -> None:
        self._hub._hub_left(address)

    def on_event(self, payload: bytes) -> None:
        # Most happenings are records, which a hub need not decode; the tag stands first in the map.
        head = payload[:24]
        if any(tag in head for tag in _OF_ACCESS):
            happening = events.decode(payload)
            if isinstance(happening, events.TokenEnded):
                self._hub.users.tokens.forget(happening.jti)
                self._hub.execs.token_ended(happening.jti)
            elif isinstance(happening, events.AccessChanged):
                self._hub.users.tokens.forget_user(happening.user_id)
