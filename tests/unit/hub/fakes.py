# SPDX-License-Identifier: Apache-2.0
"""A gateway node and agents without sockets: relay messages over a memory bus, the agent's side of the handshake."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable
from typing import Literal, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.helpers import until
from towline.bus.base import Bus, Endpoint, Member
from towline.hub import events
from towline.hub.identity import verify
from towline.protocols.link import messages as m
from towline.protocols.link import relay
from towline.protocols.link.enrolment import parse_line
from towline.protocols.link.frames import Frame, Type, decode_frame
from towline.protocols.link.handshake import AgentEnrolment, AgentHandshake
from towline.protocols.link.items import Item, Lane, encode_batch, encode_item
from towline.protocols.link.lanes import batch_frames

B = TypeVar("B", bound=m.Body)
FACTS = {"hostname": "pump-7", "os": "Debian 12", "arch": "x86_64", "platform": "linux"}


class FakeNode:
    """A node that relays for :class:`FakeAgent` objects. It keeps the roster as a node does."""

    def __init__(self) -> None:
        self.endpoint: Endpoint
        self.links: dict[str, FakeAgent] = {}
        self.accepted: dict[str, relay.Accept] = {}
        self.asked_roster = 0
        self.answer_rosters = True
        self.hands_over = True
        self._ids = itertools.count(1)

    @classmethod
    async def open(cls, bus: Bus) -> FakeNode:
        node = cls()
        node.endpoint = await bus.open("node", node, lease_number=True)
        return node

    async def close(self) -> None:
        await self.endpoint.close()

    def hub(self) -> str:
        return self.endpoint.members("hub")[0].address

    def opened(self, agent: FakeAgent) -> str:
        conn = f"{secrets.randbits(48)}{next(self._ids)}"
        self.links[conn] = agent
        agent.hub = self.hub()
        self.tell(agent.hub, relay.Opened(conn, "192.0.2.7", "/link/v1"))
        return conn

    def tell(self, hub: str, message: relay.NodeMessage) -> None:
        self.endpoint.send(hub, relay.encode_relay(message))

    def cut(self, conn: str, cause: str = "closed_by_agent") -> None:
        """The link ends; the hub is told."""
        agent = self.links.pop(conn)
        self.accepted.pop(conn, None)
        self.tell(agent.hub, relay.Closed(conn, cause))

    def roster(self, hub: str | None = None) -> list[relay.RosterEntry]:
        """All signed-in links, or those that a hub serves."""
        return [
            relay.RosterEntry(conn, one.device_id, one.workgroup, one.counter, 1)
            for conn, one in self.accepted.items()
            if hub is None or self.links[conn].hub == hub
        ]

    # Receiver

    def on_message(self, sender: str, payload: bytes) -> None:
        message = relay.decode_relay(payload)
        if isinstance(message, relay.RosterAsk):
            self.asked_roster += 1
            if self.answer_rosters:
                self.tell(sender, relay.Roster(self.roster(sender)))
            return
        assert isinstance(message, (relay.Out, relay.Accept, relay.Close))
        agent = self.links.get(message.conn)
        if agent is None:
            return
        if isinstance(message, relay.Out):
            agent.on_frame(message.data)
        elif isinstance(message, relay.Accept):
            self.accepted[message.conn] = message
        else:
            agent.closed = message
            self.cut(message.conn, message.cause)

    def on_call(self, sender: str, payload: bytes) -> bytes:
        raise AssertionError("nobody calls a node here")

    def on_event(self, sender: str, payload: bytes) -> None: ...

    def on_joined(self, member: Member) -> None:
        if member.kind == "hub":
            self._rehome()

    def on_left(self, member: Member, cause: Literal["closed", "silent"]) -> None:
        if member.kind == "hub":
            self._rehome()

    def _rehome(self) -> None:
        living = {member.address for member in self.endpoint.members("hub")}
        for entry in self.roster():
            agent = self.links[entry.conn]
            if self.hands_over and living and agent.hub not in living:
                agent.hub = self.hub()
                self.tell(agent.hub, relay.Roster([entry], handed=True))


class FakeAgent:
    """One device's agent: a key, an identity once enrolled, a link at a time."""

    def __init__(self, node: FakeNode) -> None:
        self.node = node
        self.key = Ed25519PrivateKey.generate()
        self.hub = ""
        self.conn = ""
        self.device_id = ""
        self.workgroup = ""
        self.hub_id = ""
        self.hub_key = b""
        self.spool_id = secrets.token_hex(8)
        self.welcome: m.Welcome | None = None
        self.refused: m.Refused | None = None
        self.closed: relay.Close | None = None
        self.frames: list[Frame] = []
        self.answer: Callable[[Frame], None] | None = None
        self.seq: dict[str, int] = {"urgent": 0, "live": 0, "backlog": 0}
        self._shake: AgentHandshake | AgentEnrolment | None = None

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    async def enrol(self, line: str, name: str = "") -> None:
        parsed = parse_line(line)
        shake = AgentEnrolment(
            token=parsed.token,
            pin=parsed.pin,
            public_key=self.public_key,
            nonce=secrets.token_bytes(32),
            sign=self.key.sign,
            verify=verify,
            name=name,
            agent_version="1.0.0",
            facts=FACTS,
        )
        await self._run(shake)
        if shake.enrolled is not None:
            self.device_id, self.workgroup = shake.enrolled.device_id, shake.enrolled.workgroup
            self.hub_id, self.hub_key = shake.enrolled.hub_id, shake.enrolled.hub_key
            await until(lambda: self.closed is not None)

    async def login(self) -> None:
        """Sign in; ``welcome`` or ``refused`` is set afterwards."""
        shake = AgentHandshake(
            device_id=self.device_id,
            workgroup=self.workgroup,
            hub_id=self.hub_id,
            hub_key=self.hub_key,
            nonce=secrets.token_bytes(32),
            spool_id=self.spool_id,
            sign=self.key.sign,
            verify=verify,
            agent_version="1.0.0",
            facts=FACTS,
        )
        await self._run(shake)
        self.welcome = shake.welcome

    async def _run(self, shake: AgentHandshake | AgentEnrolment) -> None:
        self.welcome, self.refused, self.closed, self.frames = None, None, None, []
        self._shake = shake
        self.conn = self.node.opened(self)
        self.send(shake.start())
        await until(lambda: shake.state in ("done", "refused"), what="handshake")
        self._shake = None
        self.refused = shake.refused

    def send(self, frame: bytes) -> None:
        self.node.tell(self.hub, relay.Frame(self.conn, frame))

    def on_frame(self, data: bytes) -> None:
        if self._shake is not None and self._shake.state not in ("done", "refused"):
            answer = self._shake.receive(data)
            if answer is not None:
                self.send(answer)
            return
        frame = decode_frame(data)
        self.frames.append(frame)
        if self.answer is not None:
            self.answer(frame)

    def cut(self, cause: str = "closed_by_agent") -> None:
        self.node.cut(self.conn, cause)

    # -- lanes

    def batch(self, lane: Lane, *items: Item, dropped: dict[str, int] | None = None) -> int:
        """Send the lane's next batch; its sequence."""
        self.seq[lane] += 1
        self.resend(lane, self.seq[lane], *items, dropped=dropped)
        return self.seq[lane]

    def resend(self, lane: Lane, seq: int, *items: Item, dropped: dict[str, int] | None = None) -> None:
        body = encode_batch(self.spool_id, lane, seq, [encode_item(item) for item in items], dropped or {})
        for frame in batch_frames(lane, seq, body):
            self.send(frame)

    async def store(self, lane: Lane, *items: Item, dropped: dict[str, int] | None = None) -> int:
        """Send the next batch and wait for its acknowledgement."""
        seq = self.batch(lane, *items, dropped=dropped)
        await self.acked(lane, seq)
        return seq

    async def acked(self, lane: Lane, seq: int) -> None:
        await until(lambda: any(a.lane == lane and a.seq >= seq for a in self.got(m.Ack)), what=f"ack {lane}/{seq}")

    # -- what came

    def got(self, body: type[B]) -> list[B]:
        """Messages of a kind, in order."""
        kind = m.TYPES[body]
        return [m.expect(frame, body) for frame in self.frames if frame.type == kind]

    async def wait(self, body: type[B], count: int = 1) -> B:
        """The ``count``-th message of a kind."""
        await until(lambda: len(self.got(body)) >= count, what=f"{body.__name__} #{count}")
        return self.got(body)[count - 1]

    def stream_of(self, kind: Type, number: int = 0) -> int:
        return [frame.stream for frame in self.frames if frame.type == kind][number]


class Door:
    """Hears happenings."""

    def __init__(self) -> None:
        self.endpoint: Endpoint
        self.heard: list[events.AnyHappening] = []

    @classmethod
    async def open(cls, bus: Bus) -> Door:
        door = cls()
        door.endpoint = await bus.open("door", door, events=True)
        return door

    def of(self, kind: type[H]) -> list[H]:
        return [one for one in self.heard if isinstance(one, kind)]

    async def wait(self, kind: type[H], count: int = 1) -> H:
        await until(lambda: len(self.of(kind)) >= count, what=f"{kind.__name__} #{count}")
        return self.of(kind)[count - 1]

    def on_message(self, sender: str, payload: bytes) -> None: ...

    def on_call(self, sender: str, payload: bytes) -> bytes:
        return b""

    def on_event(self, sender: str, payload: bytes) -> None:
        happening = events.decode(payload)
        assert happening is not None
        self.heard.append(happening)

    def on_joined(self, member: Member) -> None: ...

    def on_left(self, member: Member, cause: Literal["closed", "silent"]) -> None: ...


H = TypeVar("H", bound=events.Happening)


async def settle(turns: int = 20) -> None:
    """Let everything that waits for a turn of the loop have it."""
    for _ in range(turns):
        await asyncio.sleep(0)
