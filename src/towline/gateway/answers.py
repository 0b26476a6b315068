# SPDX-License-Identifier: Apache-2.0
"""What a node asked other nodes, until they have answered, left, or been silent for too long."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

STOOD_STILL_S = 0.1
"""A deadline that is noticed this late says that this process stood still: the answers may be there, unread."""


class Waiting:
    """A send, publish or call with answers outstanding. ``done`` is called once, when none is any more."""

    __slots__ = ("addresses", "deadline", "done", "failed", "problem", "sent", "seq", "silent")

    def __init__(self, seq: int, addresses: set[str], deadline: float, done: Callable[[Waiting], None]) -> None:
        self.seq = seq
        self.addresses = addresses
        self.deadline = deadline
        self.done = done
        self.sent = 0
        self.failed = 0
        self.silent = 0
        self.problem: str | None = None


class Answers:
    """All that a node waits for.

    :param answer_s: how long, the same for all: deadlines are in the order of the questions
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, answer_s: float) -> None:
        self._loop = loop
        self.answer_s = answer_s
        self._waiting: dict[int, Waiting] = {}
        self._deadlines: deque[Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._last = 0
        self._spared = 0
        self.silent = 0
        """answers that did not come in time"""
        self.late = 0
        """answers that came when nobody waited for them"""

    def wait(
        self, seq: int, addresses: set[str], done: Callable[[Waiting], None], sent: int = 0, failed: int = 0
    ) -> None:
        """Wait for the answers of ``addresses`` to question ``seq``; numbers grow."""
        waiting = Waiting(seq, addresses, self._loop.time() + self.answer_s, done)
        waiting.sent, waiting.failed = sent, failed
        self._last = seq
        self._waiting[seq] = waiting
        self._deadlines.append(waiting)
        if self._timer is None:
            self._look_at(waiting.deadline)

    def expected(self, seq: int, sender: str) -> Waiting | None:
        """What an answer belongs to; None, and counted, when nobody waits for it."""
        waiting = self._waiting.get(seq)
        if waiting is None or sender not in waiting.addresses:
            self.late += 1
            return None
        return waiting

    def answered(self, waiting: Waiting, address: str) -> None:
        """One answer was taken."""
        waiting.addresses.discard(address)
        if not waiting.addresses and self._waiting.pop(waiting.seq, None) is not None:
            waiting.done(waiting)

    def left(self, address: str) -> None:
        """A node is gone: nobody waits for it any more."""
        for waiting in list(self._waiting.values()):
            if address in waiting.addresses:
                waiting.silent += 1
                self.silent += 1
                self.answered(waiting, address)

    def close(self) -> None:
        """Whoever still waits is answered with what is known."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for waiting in list(self._waiting.values()):
            self._give_up(waiting)
        self._waiting.clear()
        self._deadlines.clear()

    def _look_at(self, due: float) -> None:
        self._due = due
        self._timer = self._loop.call_at(due, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        late = now - self._due
        deadlines = self._deadlines
        while deadlines:
            waiting = deadlines[0]
            if waiting.addresses:
                if waiting.deadline > now:
                    self._look_at(waiting.deadline)
                    return
                if late > STOOD_STILL_S and waiting.seq > self._spared:
                    # Once for each that waits now, or a busy loop would wait for ever.
                    self._spared = self._last
                    self._look_at(now + min(late, self.answer_s))
                    return
                self._waiting.pop(waiting.seq, None)
                self._give_up(waiting)
            deadlines.popleft()

    def _give_up(self, waiting: Waiting) -> None:
        waiting.silent += len(waiting.addresses)
        self.silent += len(waiting.addresses)
        waiting.addresses.clear()
        waiting.done(waiting)
