# SPDX-License-Identifier: Apache-2.0
"""The hub's place on the bus: links of agents as nodes relay them, and messages from other hubs.

Callbacks of the bus never block: what takes a transaction runs beside, in order for each link (:meth:`Session.then`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal, Protocol

from towline.bus.base import Member
from towline.errors import TowlineError
from towline.hub import causes, peers
from towline.hub.core import Core, log
from towline.hub.identity import Enrolments
from towline.hub.login import Login
from towline.hub.presence import Presence
from towline.hub.rosters import Rosters
from towline.hub.session import CLOSE_PROTOCOL, CLOSE_REFUSED, CLOSE_RETRY, CLOSE_UNKNOWN, Session
from towline.protocols.link import messages as m
from towline.protocols.link import relay
from towline.protocols.link.frames import Frame, LinkError, Priority, Type, decode_frame
from towline.protocols.link.items import Batch
from towline.protocols.link.limits import FIRST_STREAM

_MAX_PER_LANE = 2
_MAX_BAD = 4
_MAX_ASKS = 32
_CLOSED_REMEMBERED_S = 30.0
_MAX_CLOSED = 10_000
_TYPES = frozenset(int(kind) for kind in Type)


class Families(Protocol):
    """What links hand on to the use-case families."""

    def batch(self, session: Session, batch: Batch, done: Callable[[], None]) -> None:
        """Store and acknowledge; ``done`` is called when that is over."""
        ...

    async def bad_batch(self, session: Session, frame: Frame, error: LinkError) -> bool:
        """A frame that is no batch. False: nothing could be acknowledged, close the link."""
        ...

    async def key_asked(self, session: Session, app_guid: str) -> None:
        """PLUGIN_KEY_ASK."""
        ...

    async def welcomed(self, session: Session) -> None:
        """The link is signed in (again)."""
        ...

    def on_peer(self, sender: str, message: peers.PeerMessage) -> None:
        """Another hub says something."""
        ...

    async def on_peer_call(self, sender: str, message: peers.PeerMessage) -> bytes:
        """Another hub asks something."""
        ...

    def on_hub_left(self, address: str) -> None:
        """Another hub is gone."""
        ...

    def on_event(self, payload: bytes) -> None:
        """A happening, from any hub."""
        ...


class Links:
    """The bus receiver of a hub."""

    families: Families

    def __init__(self, core: Core, presence: Presence, enrolments: Enrolments) -> None:
        self._core = core
        self._presence = presence
        self.login = Login(core, self, presence, enrolments)
        self.rosters = Rosters(core, self, presence)
        self.verifying = False
        self.sessions: dict[str, Session] = {}
        self.devices: dict[str, Session] = {}
        """Device id → the newest signed-in session here."""
        self._closed: dict[str, float] = {}
        self._early: list[tuple[str, bytes]] | None = []
        """What was heard while the hub was still joining the bus; None once it has."""

    def joined(self) -> None:
        """The hub's endpoint is there: take what was heard meanwhile, in order."""
        early, self._early = self._early, None
        for sender, payload in early or ():
            self.on_message(sender, payload)

    # -- out ---------------------------------------------------------------------------------------------------

    def send(self, session: Session, frame: bytes, priority: Priority = Priority.URGENT) -> bool:
        """Hand a link frame to the agent's node; False when it is certainly not going to arrive."""
        self._core.counters["links.frames_out"] += 1
        return self.to_node(session.node, relay.Out(session.conn, frame, int(priority)))

    def close(self, session: Session, code: int, reason: str, cause: str) -> None:
        """Close a link after what is queued for it; its presence changes when the node says Closed."""
        session.state = "closing"
        if self.devices.get(session.device_id) is session:
            del self.devices[session.device_id]
        self.to_node(session.node, relay.Close(session.conn, code, reason[:100], cause))

    def refuse(self, session: Session, code: str, message: str, retry_after_s: float | None, close: int) -> None:
        """REFUSED, then close."""
        self._core.counters[f"links.refused.{code}"] += 1
        refused = m.Refused(code=code, message=message, retry_after_s=retry_after_s)
        self.send(session, m.encode(refused), Priority.CONTROL)
        self.close(session, close, message, causes.REFUSED)

    def kick(self, device_id: str, code: str, message: str, *, here_only: bool = False) -> None:
        """Refuse a device's live link, wherever it is served."""
        session = self.devices.get(device_id)
        if session is not None:
            self.refuse(session, code, message, None, CLOSE_REFUSED)
        elif not here_only:
            self.to_hubs(peers.Kick(device_id, code, message))

    def to_device(self, workgroup: str, device_id: str, frame: bytes, *, here_only: bool = False) -> bool:
        """Send a frame to a device (empty id: to all of the workgroup), wherever it is served. True: it is here."""
        sessions = [self.devices.get(device_id)] if device_id else list(self.devices.values())
        here = [session for session in sessions if session is not None and session.workgroup == workgroup]
        for session in here:
            self.send(session, frame)
        if not here_only and not (device_id and here):
            self.to_hubs(peers.Relay(workgroup, device_id, frame))
        return bool(here)

    def to_hubs(self, message: peers.PeerMessage) -> None:
        """Tell every other hub."""
        payload = peers.encode(message)
        for address in self.other_hubs():
            self._core.endpoint.send(address, payload)

    def other_hubs(self) -> list[str]:
        """Addresses of living hubs besides this one."""
        own = self._core.endpoint.address
        return [member.address for member in self._core.endpoint.members("hub") if member.address != own]

    def to_node(self, node: str, message: relay.HubMessage) -> bool:
        """Tell a node something."""
        return self._core.endpoint.send(node, relay.encode_relay(message))

    # -- what is known -------------------------------------------------------------------------------------------

    def node_lives(self, address: str) -> bool:
        """Whether a node is a living member of the bus."""
        return any(member.address == address for member in self._core.endpoint.members("node"))

    def closed_lately(self, conn: str) -> bool:
        """Whether a connection ended so recently that late messages may still name it."""
        at = self._closed.get(conn)
        return at is not None and at > self._core.clock.monotonic() - _CLOSED_REMEMBERED_S

    def signed_in(self, session: Session) -> None:
        """Frames of the session count from now on; it is its device's newest here."""
        session.state = "signed_in"
        session.signed_in_at = self._core.clock.monotonic()
        self.devices[session.device_id] = session

    # -- Receiver ----------------------------------------------------------------------------------------------

    def on_message(self, sender: str, payload: bytes) -> None:
        if self._early is not None:
            self._early.append((sender, payload))
            return
        try:
            if peers.is_peer(payload):
                self.families.on_peer(sender, peers.decode(payload))
                return
            message = relay.decode_relay(payload)
        except TowlineError as error:
            self._core.counters[f"links.malformed.{error.code}"] += 1
            return
        if isinstance(message, relay.Frame):
            self._on_frame(sender, message)
        elif isinstance(message, relay.Opened):
            self._on_opened(sender, message)
        elif isinstance(message, relay.Closed):
            self.on_closed(message)
        elif isinstance(message, relay.Roster):
            self.rosters.on_roster(sender, message)
        else:
            self._core.counters["links.malformed.link.relay"] += 1

    def on_call(self, sender: str, payload: bytes) -> bytes | Awaitable[bytes]:
        return self.families.on_peer_call(sender, peers.decode(payload))

    def on_event(self, sender: str, payload: bytes) -> None:
        self.families.on_event(payload)

    def on_joined(self, member: Member) -> None:
        # A node that comes back after a silence still has the links that were given up here. (Before the hub has an
        # identity it is not on the bus itself; then it asks all nodes.)
        if member.kind == "node" and (self.verifying or self.login.identity is not None):
            self.rosters.ask(member.address)

    def on_left(self, member: Member, cause: Literal["closed", "silent"]) -> None:
        if member.kind == "hub":
            self.families.on_hub_left(member.address)
        if member.kind != "node":
            return
        word = causes.NODE_DRAINING if cause == "closed" else causes.NODE_DIED
        self.rosters.node_left(member.address)
        for session in [session for session in self.sessions.values() if session.node == member.address]:
            self._forget(session, word, ended=cause == "closed")
        self._core.spawn(self._presence.node_died(member.address, word), "node left")

    def _on_opened(self, node: str, opened: relay.Opened) -> None:
        handshake = self.login.handshake(opened.conn)
        if handshake is None:
            self.to_node(node, relay.Close(opened.conn, CLOSE_RETRY, "the hub is starting", causes.REFUSED))
            return
        self._core.counters["links.opened"] += 1
        self.sessions[opened.conn] = Session(opened.conn, node, opened.remote, handshake)

    def on_closed(self, closed: relay.Closed) -> None:
        """A link ended."""
        session = self.sessions.get(closed.conn)
        if session is None:
            return
        self._core.counters["links.closed"] += 1
        self._forget(session, closed.cause)

        async def ended() -> None:
            # Signing in may still have been under way when the link closed: by now its ids are known.
            if session.device_id:
                await self._presence.disconnected(
                    session.workgroup, session.device_id, session.conn, closed.cause, closed.detail
                )

        if session.device_id or session.busy:
            session.then(self._core, ended, "link closed")

    def _forget(self, session: Session, cause: str, *, ended: bool = True) -> None:
        """``ended`` False: the link may well live, its node is only not heard."""
        self.sessions.pop(session.conn, None)
        if self.devices.get(session.device_id) is session:
            del self.devices[session.device_id]
        session.lose_streams(cause)
        now = self._core.clock.monotonic()
        if ended:
            self._closed[session.conn] = now
        if len(self._closed) > _MAX_CLOSED:
            self._closed = {conn: at for conn, at in self._closed.items() if at > now - _CLOSED_REMEMBERED_S}

    # -- frames ------------------------------------------------------------------------------------------------

    def _on_frame(self, node: str, relayed: relay.Frame) -> None:
        core = self._core
        core.counters["links.frames_in"] += 1
        session = self.sessions.get(relayed.conn)
        if session is None:
            if self.rosters.awaited(node):
                core.counters["links.before_roster"] += 1  # soon it is known; the agent sends again
            elif not self.closed_lately(relayed.conn):
                core.counters["links.unknown"] += 1
                self._closed[relayed.conn] = core.clock.monotonic()
                self.to_node(node, relay.Close(relayed.conn, CLOSE_UNKNOWN, "sign in again", causes.LOST))
            return
        try:
            if session.state == "signed_in":
                self._signed_in_frame(session, decode_frame(relayed.data))
            elif session.state == "handshake":
                self.login.frame(session, relayed.data)
        except LinkError as error:
            self._broke(session, error)

    def _broke(self, session: Session, error: TowlineError) -> None:
        # Anybody can reach a link: what strangers do wrong is counted, and logged only when somebody looks.
        level = logging.INFO if session.device_id else logging.DEBUG
        log.log(level, "link %s of %s: %s", session.conn, session.device_id or session.remote, error)
        self.refuse(session, error.code, error.message, 5.0, CLOSE_PROTOCOL)

    def _signed_in_frame(self, session: Session, frame: Frame) -> None:
        kind = frame.type
        if kind in (Type.BATCH, Type.BATCH_PART):
            self._batch_frame(session, frame)
        elif frame.stream >= FIRST_STREAM:
            self._stream_frame(session, frame)
        elif kind == Type.PLUGIN_KEY_ASK:
            self._ask(session, m.expect(frame, m.PluginKeyAsk))
        elif kind == Type.KEY_CHANGE:
            self.login.key_change(session, m.expect(frame, m.KeyChange))
        elif kind in (Type.PING, Type.PONG, Type.BYE):
            return
        elif kind in _TYPES:
            raise LinkError("link.sequence", f"{Type(kind).name} is not for a hub to hear now")
        else:
            self._core.counters["links.unknown_type"] += 1

    def _batch_frame(self, session: Session, frame: Frame) -> None:
        try:
            batch = session.lanes.receive(frame)
        except LinkError as error:
            if session.bad_batches >= _MAX_BAD:
                self._core.counters["ingest.busy"] += 1
                return
            session.bad_batches += 1
            session.then(self._core, partial(self._bad_batch, session, frame, error), "bad batch")
            return
        if batch is None:
            return
        if session.in_flight.get(batch.lane, 0) >= _MAX_PER_LANE:
            self._core.counters["ingest.busy"] += 1  # the agent sends it again
            return
        session.in_flight[batch.lane] = session.in_flight.get(batch.lane, 0) + 1
        self.families.batch(session, batch, partial(session.landed, batch.lane))

    async def _bad_batch(self, session: Session, frame: Frame, error: LinkError) -> None:
        try:
            if not await self.families.bad_batch(session, frame, error):
                self._broke(session, error)
        finally:
            session.bad_batches -= 1

    def _ask(self, session: Session, ask: m.PluginKeyAsk) -> None:
        if session.asks >= _MAX_ASKS:
            self._core.counters["plugins.asks_dropped"] += 1
            return
        session.asks += 1
        self._core.spawn(self._answer_ask(session, ask.app_guid), "plugin key")

    async def _answer_ask(self, session: Session, app_guid: str) -> None:
        try:
            await self.families.key_asked(session, app_guid)
        finally:
            session.asks -= 1

    def _stream_frame(self, session: Session, frame: Frame) -> None:
        stream = session.streams.get(frame.stream)
        if stream is None:  # from before a hub's restart
            self._core.counters["links.stream_unknown"] += 1
        elif frame.type == Type.DATA:
            credit = stream.on_data(m.expect(frame, m.Data), frame.seq)
            if credit is not None:
                self.send(session, credit, Priority.INTERACTIVE)
        elif frame.type == Type.END:
            end = m.expect(frame, m.End)
            del session.streams[frame.stream]
            stream.on_end(end)
