# SPDX-License-Identifier: Apache-2.0
"""Send and publish to clients of any node (design §4 walk 3, §6 Bus).

Local clients are served at once, without the bus. What goes to other nodes is sent through their inbox, in order, and
counted from their answers: ``sent`` counts frames that outboxes accepted, ``failed`` those they refused. A node that is
silent for the answer time adds to neither; it is counted in ``silent``.

A publish is at most once, as connmix is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from towline.bus.base import MAX_PAYLOAD, Endpoint, Member
from towline.errors import InvalidInput
from towline.gateway.answers import Answers, Waiting
from towline.gateway.connections import Connection, Realm, decode_arguments, execute_call
from towline.gateway.contextvalues import problem_of_call
from towline.gateway.durations import SendDurations
from towline.gateway.frames import data_frame
from towline.protocols.connmix.clientid import node_of
from towline.protocols.connmix.codes import ApiError, Code
from towline.protocols.connmix.mesh import (
    Call,
    Called,
    Counts,
    MeshFormatError,
    MeshMessage,
    Offer,
    Publish,
    QueueMessage,
    Send,
    Taken,
    Wants,
    decode,
    encode,
)

if TYPE_CHECKING:
    from towline.gateway.connections import Kind


MAX_CALL_BYTES = MAX_PAYLOAD - 256
"""Longest ``conn.call``: its function, client and arguments as JSON are one message of the bus. The same for a client of this
node, or a call would depend on where its client is."""


class Outcome(NamedTuple):
    """What became of a send or publish. ``silent`` nodes did not answer in time and add to neither count."""

    sent: int
    failed: int
    silent: int = 0


NOBODY = Outcome(0, 0)


class Done(NamedTuple):
    """The answer to :meth:`Mesh.call`: an empty ``problem`` means that it was done."""

    problem: str


class MeshCounters:
    """What the mesh did since the node started."""

    __slots__ = ("format_errors", "publishes", "sends", "unreachable")

    def __init__(self) -> None:
        self.publishes = 0
        self.sends = 0
        self.unreachable = 0
        """messages that the bus would not take"""
        self.format_errors = 0


class Mesh:
    """The node's side of the mesh. Entries reach it as ``conn.mesh``."""

    def __init__(self, realm: Realm, loop: asyncio.AbstractEventLoop, answer_s: float, max_data_bytes: int) -> None:
        self._realm = realm
        self.durations = SendDurations(loop)
        self._loop = loop
        self.answers = Answers(loop, answer_s)
        self._max_data_bytes = max_data_bytes
        self._endpoint: Endpoint | None = None
        self._others: list[str] = []
        self._by_number: dict[int, str] = {}
        self._numbers_at = 0.0
        self._seq = 0
        self.on_queue: Callable[[str, QueueMessage], None] | None = None
        """Takes what nodes tell each other about topics."""
        self.counters = MeshCounters()
        realm.mesh = self

    # -- for entries

    @property
    def max_data_bytes(self) -> int:
        """Longest data of one send or publish."""
        return self._max_data_bytes

    async def publish(self, channel: str, data: str | bytes, kind: Kind | None = None) -> Outcome:
        """Publish to every subscriber of ``channel`` on any node. ``str`` goes as text, ``bytes`` as binary unless
        ``kind`` says otherwise. InvalidInput when the data is too long."""
        return await self._await(self.publish_then, channel, data, kind)

    async def send(self, client_id: str, data: str | bytes, kind: Kind | None = None) -> bool:
        """Send to one client on any node. False: it is not connected, refused it, or its node did not answer."""
        outcome = await self._await(self.send_then, client_id, data, kind)
        return outcome.sent == 1

    async def _await(self, start: Any, target: str, data: str | bytes, kind: Kind | None) -> Outcome:
        payload = data.encode() if isinstance(data, str) else data
        if len(payload) > self._max_data_bytes:
            raise InvalidInput("gateway.too_long", f"{len(payload)} bytes; the limit is {self._max_data_bytes}")
        binary = kind == "binary" or (kind is None and not isinstance(data, str))
        future: asyncio.Future[Outcome] = self._loop.create_future()

        def done(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        start(target, payload, binary, done)
        return await future

    @property
    def others(self) -> list[str]:
        """Addresses of the other living nodes."""
        return self._others

    # -- for the doors: the callback is called at once when no other node is concerned

    def publish_then(self, channel: str, data: bytes, binary: bool, done: Callable[[Outcome], object]) -> None:
        """Publish, and call ``done`` once with the counts of the whole mesh."""
        self.counters.publishes += 1
        sent, failed = self._publish_here(channel, data, binary)
        if not self._others:
            done(Outcome(sent, failed))
            return
        began = self.durations.now()
        reached = self._tell(self._others, lambda seq: Publish(seq, channel, data, binary))
        if reached is None:
            done(Outcome(sent, failed))
            return

        def finish(waiting: Waiting) -> None:
            self.durations.answered(began, waiting.silent)
            done(Outcome(waiting.sent, waiting.failed, waiting.silent))

        self.answers.wait(self._seq, reached, finish, sent, failed)

    def send_then(self, client_id: str, data: bytes, binary: bool, done: Callable[[Outcome], object]) -> None:
        """Send to one client, and call ``done`` once: one sent, one failed, one silent, or nothing: not connected."""
        self.counters.sends += 1
        outcome = self._send_here(client_id, data, binary)
        address = None if outcome is not NOBODY else self._node_of(client_id)
        began = self.durations.now()
        reached = None if address is None else self._tell([address], lambda seq: Send(seq, client_id, data, binary))
        if reached is None:
            done(outcome)
            return

        def finish(waiting: Waiting) -> None:
            self.durations.answered(began, waiting.silent)
            done(Outcome(waiting.sent, waiting.failed, waiting.silent))

        self.answers.wait(self._seq, reached, finish)

    def call_then(self, client_id: str, function: str, arguments: list[Any], done: Callable[[Done], object]) -> None:
        """``conn.call`` on a client of any node, and call ``done`` once."""
        if problem := problem_of_call(function, arguments):  # before JSON is tried, which has limits of its own
            done(Done(problem))
            return
        text = msgspec.json.encode(arguments)
        size = len(text) + len(function.encode()) + len(client_id.encode())
        if size > MAX_CALL_BYTES:
            done(Done(f"the call has {size} bytes; at most {MAX_CALL_BYTES} go to a client's node"))
            return
        connection = self._realm.connections.get(client_id)
        if connection is not None:
            done(Done(execute_call(connection, function, arguments)))
            return
        nowhere = Done(f"client {client_id[:40]!r} is not connected")
        address = self._node_of(client_id)
        if address is None:
            done(nowhere)
            return
        reached = self._tell([address], lambda seq: Call(seq, client_id, function, text))
        if reached is None:
            done(nowhere)
            return

        def finish(waiting: Waiting) -> None:
            problem = waiting.problem
            done(Done("the client's node did not answer in time" if problem is None else problem))

        self.answers.wait(self._seq, reached, finish)

    # -- this node's own clients

    def _publish_here(self, channel: str, data: bytes, binary: bool) -> tuple[int, int]:
        found = self._realm.channels.get(channel)
        if found is None:
            return 0, 0
        sent, failed = self._realm.outbox.publish(found, data_frame(data, binary))
        if found.raw_members:
            members = list(found.raw_members)
            taken = sum(member.deliver(data, binary) for member in members)
            sent, failed = sent + taken, failed + len(members) - taken
        if self.durations.budget.left:
            self.durations.written(raw=not found.members)
        return sent, failed

    def _send_here(self, client_id: str, data: bytes, binary: bool) -> Outcome:
        connection: Connection | None = self._realm.connections.get(client_id)
        if connection is None:
            return NOBODY
        accepted = connection.deliver(data, binary)
        if self.durations.budget.left:
            self.durations.written(raw=connection.raw)
        return Outcome(1, 0) if accepted else Outcome(0, 1)

    # -- other nodes

    def attach(self, endpoint: Endpoint) -> None:
        """The node is on the bus now."""
        self._endpoint = endpoint
        self.members_changed()

    def members_changed(self, left: Member | None = None) -> None:
        """A node came or went. What still waited for one that went is settled without it."""
        endpoint = self._endpoint
        if endpoint is None:
            return
        others = [member for member in endpoint.members("node") if member.address != endpoint.address]
        self._others = [member.address for member in others]
        self._numbers_at = 0.0
        if left is not None:
            self.answers.left(left.address)

    def on_message(self, sender: str, payload: bytes) -> None:
        """A mesh message from another node."""
        try:
            message = decode(payload)
        except MeshFormatError:
            self.counters.format_errors += 1
            return
        match message:
            case Publish():
                sent, failed = self._publish_here(message.channel, message.data, message.binary)
                self._reply(sender, Counts(message.seq, sent, failed))
            case Send():
                outcome = self._send_here(message.client_id, message.data, message.binary)
                self._reply(sender, Counts(message.seq, outcome.sent, outcome.failed))
            case Wants() | Offer() | Taken():
                if self.on_queue is not None:
                    self.on_queue(sender, message)
            case Call():
                self._reply(sender, Called(message.seq, self._call_here(message)))
            case Counts():
                waiting = self.answers.expected(message.seq, sender)
                if waiting is not None:
                    waiting.sent += message.sent
                    waiting.failed += message.failed
                    self.answers.answered(waiting, sender)
            case Called():
                waiting = self.answers.expected(message.seq, sender)
                if waiting is not None:
                    waiting.problem = message.problem
                    self.answers.answered(waiting, sender)

    def _call_here(self, message: Call) -> str:
        connection = self._realm.connections.get(message.client_id)
        if connection is None:
            return f"client {message.client_id[:40]!r} is not connected"
        try:
            arguments = decode_arguments(message.arguments)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.counters.format_errors += 1
            return "the arguments are not a JSON array"
        return execute_call(connection, message.function, arguments)

    def _node_of(self, client_id: str) -> str | None:
        """The address of the node that gave an id. Numbers are looked up again each second, and for one not seen yet:
        a member may get its number, or another one, while it lives."""
        number = node_of(client_id)
        endpoint = self._endpoint
        if number < 0 or endpoint is None or not self._others:
            return None
        now = self._loop.time()
        if now > self._numbers_at + 1.0 or number not in self._by_number:
            # Oldest first: should a number be seen twice for a moment, the youngest holder has the lease.
            self._numbers_at = now
            members = endpoint.members("node")
            self._by_number = {member.number: member.address for member in members if member.number >= 0}
        address = self._by_number.get(number)
        return None if address == endpoint.address else address

    def _tell(self, addresses: list[str], make: Callable[[int], MeshMessage]) -> set[str] | None:
        """Send to nodes; those that the bus accepted it for, or None for none."""
        endpoint = self._endpoint
        if endpoint is None:
            return None
        self._seq += 1
        payload = encode(make(self._seq))
        reached = {address for address in addresses if endpoint.send(address, payload)}
        self.counters.unreachable += len(addresses) - len(reached)
        return reached or None

    def _reply(self, to: str, message: MeshMessage) -> None:
        if self._endpoint is not None and not self._endpoint.send(to, encode(message)):
            self.counters.unreachable += 1

    def close(self) -> None:
        """The node leaves the bus: whoever still waits is answered with what is known."""
        self.answers.close()
        self._endpoint = None
        self._others = []
        self._by_number = {}


def send_problem(client_id: str, outcome: Outcome) -> ApiError | None:
    """Why a send did not reach its client (401), None when it did."""
    if outcome.sent:
        return None
    if outcome.failed:
        reason = f"client {client_id[:40]} is too far behind, closing, or its protocol cannot encode this"
    elif outcome.silent:
        reason = f"the node of client {client_id[:40]} did not answer in time"
    else:
        reason = f"client {client_id[:40]!r} is not connected"
    return ApiError(Code.SEND_FAILED, reason)
