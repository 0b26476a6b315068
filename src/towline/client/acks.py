# SPDX-License-Identifier: Apache-2.0
"""Acks over one socket of a consumer: those that somebody waits for, and those that are gathered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Protocol

import msgspec
import picows

from towline.client.event import Receipt
from towline.client.push import PushError
from towline.errors import Unavailable

log = logging.getLogger("towline.client")

ANSWER_S = 10.0
"""How long an ack may stay without an answer."""

CLOSE_S = 5.0
"""How long closing waits for the answers."""


class Late(Protocol):
    """Who counts what came too late."""

    late: int


class AckingListener(picows.WSListener):
    """The listener of a consumer's socket; ``transport`` is set while it is open."""

    def __init__(self, counts: Late) -> None:
        self._counts = counts
        self.transport: picows.WSTransport | None = None
        self._number = 1
        self._asked: dict[int, asyncio.Future[int]] = {}
        self._soon: list[str] = []
        self._gone = asyncio.Event()
        """Set while nothing is gathered and nobody waits."""
        self._gone.set()

    @property
    def open(self) -> bool:
        """See :class:`towline.client.event.Socket`."""
        return self.transport is not None

    async def settle(self, method: str, receipts: list[Receipt], delay_s: float = 0.0) -> int:
        """See :class:`towline.client.event.Socket`."""
        for receipt in receipts:
            receipt.settled = True
        answer = self._ask(method, [receipt.token for receipt in receipts], delay_s)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            raise Unavailable("push.timeout", f"no answer to {method} in {ANSWER_S:g} s") from None

    def ack_soon(self, token: str) -> None:
        """Ack, together with others; a failure is counted and logged."""
        if not self._soon:
            asyncio.get_running_loop().call_soon(self._send_gathered)
            self._gone.clear()
        self._soon.append(token)

    def _send_gathered(self) -> None:
        tokens, self._soon = self._soon, []
        if tokens:
            self._ask("queue.ack", tokens).add_done_callback(lambda answer: self._gathered(len(tokens), answer))

    def _gathered(self, count: int, answer: asyncio.Future[int]) -> None:
        error = None if answer.cancelled() else answer.exception()
        if error is not None:
            self._counts.late += count
            log.warning("acks were not taken; these messages come again", extra={"count": count, "reason": str(error)})

    def _ask(self, method: str, tokens: list[str], delay_s: float = 0.0) -> asyncio.Future[int]:
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if self.transport is None:
            answer.set_exception(_lost())
            self._settled()
            return answer
        self._number += 1
        self._asked[self._number] = answer
        self._gone.clear()
        params: dict[str, Any] = {"a": tokens, "w": delay_s} if delay_s else {"a": tokens}
        request = {"m": method, "p": params, "i": self._number}
        self.transport.send(picows.WSMsgType.TEXT, msgspec.json.encode(request))
        return answer

    def answered(self, number: int, error: dict[str, Any] | None, result: dict[str, Any]) -> None:
        """The node's answer to a request of ours."""
        answer = self._asked.pop(number, None)
        if answer is not None and not answer.done():
            if error is None:
                self._counts.late += int(result.get("f", 0))
                answer.set_result(int(result.get("s", 0)))
            else:
                answer.set_exception(PushError(f"push.{error.get('c')}", str(error.get("m"))))
        self._settled()

    def _settled(self) -> None:
        if not self._asked and not self._soon:
            self._gone.set()

    def lost(self) -> None:
        """The socket is gone."""
        self.transport = None
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(_lost())
        self._asked.clear()
        self._settled()

    async def flushed(self) -> None:
        """Everything that was acked is answered, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._gone.wait()


def _lost() -> Unavailable:
    return Unavailable("push.disconnected", "the connection was lost before the node answered; the message comes again")
