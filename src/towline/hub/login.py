# SPDX-License-Identifier: Apache-2.0
"""The handshake of a link: signing in and enrolling."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from towline.errors import Refused, TowlineError, Unavailable
from towline.hub import causes, events
from towline.hub.actor import Actor
from towline.hub.core import Core
from towline.hub.identity import Enrolments, Identity, facts_of, verify
from towline.hub.presence import DUPLICATE_RETRY_S, Presence
from towline.hub.session import CLOSE_NORMAL, CLOSE_REFUSED, CLOSE_REPLACED, CLOSE_RETRY, Session, Work
from towline.protocols.link import keychange, relay
from towline.protocols.link import messages as m
from towline.protocols.link.frames import Priority
from towline.protocols.link.handshake import Challenged, EnrolAsked, HubHandshake, LoginAsked, key_pin
from towline.protocols.link.limits import HEARTBEAT_S, SILENT_S
from towline.store.rows import Connected, Device

if TYPE_CHECKING:
    from towline.hub.links import Links

_RETRY_S = 5.0


class Login:
    """Answers the frames of links that are not signed in."""

    def __init__(self, core: Core, links: Links, presence: Presence, enrolments: Enrolments) -> None:
        self._core = core
        self._links = links
        self._presence = presence
        self._enrolments = enrolments
        self.identity: Identity | None = None

    def handshake(self, conn: str) -> HubHandshake | None:
        """The hub's side for a new link; None while the hub is starting."""
        return None if self.identity is None else self.identity.handshake(self._core, conn)

    def frame(self, session: Session, data: bytes) -> None:
        """Take a frame. LinkError: refuse and close."""
        if session.handshake is None:
            return
        event = session.handshake.receive(data)
        if isinstance(event, Challenged):
            self._links.send(session, event.data, Priority.CONTROL)
        elif isinstance(event, LoginAsked):
            session.then(
                self._core, partial(self._answer, session, partial(self._sign_in, session, event)), "link login"
            )
        else:
            session.then(self._core, partial(self._answer, session, partial(self._enrol, session, event)), "enrolment")

    async def _answer(self, session: Session, work: Work) -> None:
        """Run a step; what goes wrong becomes REFUSED."""
        refuse = self._links.refuse
        try:
            await work()
        except Unavailable as error:
            retry = DUPLICATE_RETRY_S if error.code == "link.duplicate_key" else _RETRY_S
            refuse(session, error.code, error.message, retry, CLOSE_RETRY)
        except TowlineError as error:
            refuse(session, error.code, error.message, None, CLOSE_REFUSED)
        except Exception:
            refuse(session, "internal", "the hub could not sign the link in", _RETRY_S, CLOSE_RETRY)
            raise

    async def _enrol(self, session: Session, asked: EnrolAsked) -> None:
        device = await self._enrolments.redeem(asked, session.remote)
        assert session.handshake is not None
        frame = session.handshake.enrolled(device_id=device.id, workgroup=device.workgroup, name=device.name)
        self._links.send(session, frame, Priority.CONTROL)
        self._links.close(session, CLOSE_NORMAL, "enrolled", "enrolled")

    async def _sign_in(self, session: Session, asked: LoginAsked) -> None:
        core, links, hello = self._core, self._links, asked.hello
        device = await self._known(session, hello)
        if device is None or session.conn not in links.sessions:
            return
        connected = await self._presence.connected(device, session.conn, session.node, session.remote)
        # From here on the link's end must be noted, so its ids are set before anything else can fail.
        session.workgroup, session.device_id, session.spool_id = device.workgroup, device.id, hello.spool_id
        session.public_key = device.public_key
        if not links.node_lives(session.node):
            await self._presence.node_died(session.node, causes.NODE_DIED)
            return
        sequences = await core.store.records.lane_sequences(device.workgroup, device.id, hello.spool_id)
        self._close_replaced(session, connected)
        if session.conn not in links.sessions or session.state == "closing":
            return
        links.signed_in(session)
        links.to_node(session.node, relay.Accept(session.conn, device.id, device.workgroup, connected.presence.counter))
        assert session.handshake is not None
        welcome = session.handshake.welcome(
            acked={"urgent": sequences.urgent, "live": sequences.live, "backlog": sequences.backlog},
            counter=connected.presence.counter,
            server_time_us=core.clock.now_us(),
            heartbeat_s=HEARTBEAT_S,
            silent_s=SILENT_S,
            name=device.name,
        )
        links.send(session, welcome, Priority.CONTROL)
        session.handshake = None
        facts = facts_of(hello, session.remote)
        if facts != device.facts and await core.store.devices.set_facts(device.workgroup, device.id, facts):
            core.announce(events.DeviceChanged(workgroup=device.workgroup, device_id=device.id))
        await links.families.welcomed(session)

    async def _known(self, session: Session, hello: m.Hello) -> Device | None:
        """The device that the agent has proved to be; None when it was refused."""
        refuse = self._links.refuse
        entry = await self._core.store.devices.get(hello.workgroup, hello.device_id)
        if entry is None:
            refuse(session, "device.unknown", "this hub does not know the device", None, CLOSE_REFUSED)
            return None
        if entry.device.revoked_us is not None:
            refuse(session, "device.revoked", "this device's key was revoked", None, CLOSE_REFUSED)
            return None
        assert session.handshake is not None
        if not session.handshake.proves(entry.device.public_key):
            refuse(session, "link.identity", "the proof is not signed by the device's key", None, CLOSE_REFUSED)
            return None
        return entry.device

    def key_change(self, session: Session, asked: m.KeyChange) -> None:
        """A signed-in agent shows its next key. LinkError: it does not hold that key."""
        identity = self.identity
        assert identity is not None
        link = keychange.LinkName(identity.hub_id, session.device_id, session.conn)
        keychange.check_ask(link, asked, verify)
        if session.key_asked:
            self._core.counters["links.key_changes_dropped"] += 1  # the agent asks again
            return

        session.key_asked = True

        async def change() -> None:
            answer = keychange.confirm(link, asked.public_key, identity.sign)
            try:
                await self._change_key(session, asked.public_key)
            except TowlineError as error:
                self._core.counters[f"links.key_refused.{error.code}"] += 1
                answer = m.KeyChanged(public_key=asked.public_key, code=error.code, message=error.message)
            finally:
                session.key_asked = False
            self._links.send(session, m.encode(answer), Priority.CONTROL)

        session.then(self._core, change, "key change")

    async def _change_key(self, session: Session, new: bytes) -> None:
        """Store the key. Asking for the same one again changes nothing. Refused ``link.key_change``, Conflict
        ``device.key_exists``, NotFound ``device.unknown``.
        """
        core, old = self._core, session.public_key
        if new == old:
            return
        if session.state != "signed_in" or not old or session.key_changed:
            # Who took this link over from another hub did not see the old key proved; and one change a link is enough.
            raise Refused("link.key_change", "sign in anew, then change the key")
        if not await core.store.devices.set_key(session.workgroup, session.device_id, old, new):
            entry = await core.store.devices.get(session.workgroup, session.device_id)
            if entry is None or entry.device.public_key != new:
                raise Refused("link.key_change", "the key with which this link was signed in does not count any more")
        else:
            core.counters["links.key_changed"] += 1
            actor = msgspec.structs.replace(Actor.system(session.workgroup, "agent"), remote=session.remote)
            await core.audit(actor, "device.key_change", "device", session.device_id, old=_print(old), new=_print(new))
        session.public_key, session.key_changed = new, True

    def _close_replaced(self, session: Session, connected: Connected) -> None:
        conn, links = connected.replaced, self._links
        if conn is None or conn == session.conn:
            return
        old = links.sessions.get(conn)
        if old is None:
            if connected.replaced_node:
                close = relay.Close(conn, CLOSE_REPLACED, "a newer connection", causes.REPLACED)
                links.to_node(connected.replaced_node, close)
            return
        bye = m.Bye(code="link.replaced", reason="a newer connection of this device")
        links.send(old, m.encode(bye), Priority.CONTROL)
        links.close(old, CLOSE_REPLACED, "a newer connection", causes.REPLACED)
        old.lose_streams(causes.REPLACED)


def _print(public_key: bytes) -> str:
    """A key's fingerprint: hex SHA-256, as far as a person compares it."""
    return key_pin(public_key).hex()[:16]
