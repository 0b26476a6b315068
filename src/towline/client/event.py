# SPDX-License-Identifier: Apache-2.0
"""A message that a consumer got, and what it says of it (docs/protocols/connmix.md, durable topics)."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol


class Socket(Protocol):
    """Where a message came from."""

    @property
    def open(self) -> bool:
        """Whether what came from it may still be acked."""
        ...

    async def settle(self, method: str, receipts: list[Receipt], delay_s: float = 0.0) -> int:
        """Ack or nack; how many the node took."""
        ...

    def ack_soon(self, token: str) -> None:
        """Ack without waiting for the answer."""
        ...


class Receipt:
    """What a message of a durable topic is acked with, once."""

    __slots__ = ("settled", "socket", "token")

    def __init__(self, socket: Socket, token: str) -> None:
        self.socket = socket
        self.token = token
        self.settled = False


class Event(NamedTuple):
    """One message. ``data`` is what was pushed, decoded from JSON; ``node`` is the number of the node where."""

    node: int
    client_id: str
    topic: str
    data: Any
    deliveries: int = 1
    """How often it was delivered, this time included; more than 1 only in durable topics."""
    receipt: Receipt | None = None
    """None for a message of a topic in memory, which nobody acks."""

    async def ack(self) -> bool:
        """It was dealt with and will not come again. False when it is too late: it was given to another, or comes again.

        PushError ``push.204`` when the node could not store that; Unavailable ``push.disconnected`` when the connection
        was lost. In both cases it comes again. Of a topic in memory: True, nothing happens.
        """
        return await self._settle("queue.ack")

    async def nack(self, delay_s: float = 0.0) -> bool:
        """It could not be dealt with: it comes again, here or elsewhere, after ``delay_s``. As :meth:`ack` otherwise."""
        return await self._settle("queue.nack", delay_s)

    def ack_soon(self) -> None:
        """Ack together with others and without waiting for the answer, unless it was acked or nacked already. A failure is
        counted by the consumer. On its event loop only."""
        receipt = self.receipt
        if receipt is not None and not receipt.settled:
            receipt.settled = True
            receipt.socket.ack_soon(receipt.token)

    @property
    def stale(self) -> bool:
        """Whether its connection was lost, so that it comes again and is not worth beginning with."""
        return self.receipt is not None and not self.receipt.socket.open

    async def _settle(self, method: str, delay_s: float = 0.0) -> bool:
        receipt = self.receipt
        if receipt is None:
            return True
        if receipt.settled:
            return False
        return bool(await receipt.socket.settle(method, [receipt], delay_s))
