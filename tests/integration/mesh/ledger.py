# SPDX-License-Identifier: Apache-2.0
"""What must hold for all that was said and heard, whatever broke meanwhile."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

from tests.integration.mesh.traffic import CALL, PUBLISH, Client, Operation, Traffic
from tests.integration.mesh.world import ANSWER_S

IN_FLIGHT_S = 3.0
"""How long before the end of a connection a frame that its outbox took may have been on its way."""

Span = tuple[float, float]


class Ledger:
    """Judges operations from :attr:`done` on, so that each round is judged once.

    ``calm`` are spans in which nothing was broken; ``frozen`` those in which a whole process stood still, which is
    added to what an answer may take.
    """

    def __init__(self, traffic: Traffic, late_s: float) -> None:
        self.traffic = traffic
        self.late_s = late_s
        self.calm: list[Span] = []
        self.frozen: list[Span] = []
        self.slowest = 0.0
        self.counts: Counter[str] = Counter()

    def check(self) -> None:
        """Everything. AssertionError with the first things that are wrong."""
        self.counts.clear()
        wrong: list[str] = []
        self._heard(wrong)
        by_channel: dict[str, list[Client]] = defaultdict(list)
        by_id: dict[str, Client] = {}
        for client in self.traffic.clients:
            by_id[client.id] = client
            for channel in client.channels:
                by_channel[channel].append(client)
        sets = {client: set(client.heard) for client in self.traffic.clients}
        for operation in self.traffic.operations:
            self._in_time(operation, wrong)
            if operation.kind == PUBLISH:
                self._publish(operation, by_channel[operation.target], sets, wrong)
            else:
                self._one(operation, by_id.get(operation.target), wrong)
        self._pushes(wrong)
        double = [client_id for client_id, count in Counter(self.traffic.ids).items() if count > 1]
        if double:
            wrong.append(f"client ids given twice: {double[:5]}")
        assert not wrong, f"{len(wrong)} wrong, {dict(self.counts)}:\n" + "\n".join(wrong[:20])

    def is_calm(self, began: float, ended: float) -> bool:
        return any(start <= began and ended <= end for start, end in self.calm)

    def _heard(self, wrong: list[str]) -> None:
        """Nothing twice, nothing unknown, nothing for others, each sender's in order."""
        operations = self.traffic.operations
        for operation in operations:
            operation.seen = 0
        for client in self.traffic.clients:
            last: dict[object, int] = {}
            numbers: set[int] = set()
            for number in client.heard:
                if number in numbers:
                    wrong.append(f"{client.id} heard {number} twice")
                    continue
                numbers.add(number)
                if number >= len(operations):
                    wrong.append(f"{client.id} heard {number}, which nobody said")
                    continue
                operation = operations[number]
                operation.seen += 1
                self.counts["heard"] += 1
                target = operation.target
                if target not in client.channels if operation.kind == PUBLISH else target != client.id:
                    wrong.append(f"{client.id} heard {number}, which is for {target}")
                if last.get(operation.sender, -1) > number:
                    wrong.append(f"{client.id} heard {number} after {last[operation.sender]} of the same sender")
                last[operation.sender] = number

    def _in_time(self, operation: Operation, wrong: list[str]) -> None:
        if operation.answered == math.inf:
            self.counts["cut off"] += 1
            if operation.sender.gone == math.inf:
                wrong.append(f"{operation.number} was never answered, and its connection is whole")
            return
        took = operation.answered - operation.sent_at
        for start, end in self.frozen:
            took -= max(0.0, min(end, operation.answered) - max(start, operation.sent_at))
        self.slowest = max(self.slowest, took)
        if took > ANSWER_S + self.late_s:
            wrong.append(f"{operation.number} {operation.kind} was answered after {took:.1f} s")

    def _publish(
        self, operation: Operation, channel: list[Client], sets: dict[Client, set[int]], wrong: list[str]
    ) -> None:
        if operation.code:
            if operation.answered < math.inf:
                wrong.append(f"publish {operation.number} was refused with {operation.code}")
            return
        number, answered = operation.number, operation.answered
        possible = [client for client in channel if client.began < answered and client.gone > operation.sent_at]
        lost = sum(1 for client in possible if client.gone < answered + IN_FLIGHT_S and number not in sets[client])
        told = f"publish {number}: s {operation.sent}, f {operation.failed}, heard {operation.seen}, {took(operation)}"
        self.counts["published"] += 1
        self.counts["s"] += operation.sent
        if operation.failed:
            wrong.append(f"{told}; nobody was behind")
        if operation.sent > len(possible):
            wrong.append(f"{told}; only {len(possible)} could")
        if operation.sent > operation.seen + lost:
            wrong.append(f"{told}; {lost} ended meanwhile")
        if self.is_calm(operation.sent_at, answered):
            self.counts["published in calm"] += 1
            if not operation.sent == operation.seen == len(possible):
                wrong.append(f"{told}; nothing was broken, and there are {len(possible)}")
        elif operation.seen > operation.sent:
            self.counts["heard beyond s"] += operation.seen - operation.sent

    def _one(self, operation: Operation, client: Client | None, wrong: list[str]) -> None:
        """A send or a call."""
        if operation.answered == math.inf:
            return
        refused = 301 if operation.kind == CALL else 401
        told = (
            f"{operation.kind} {operation.number} of {operation.target}: code {operation.code}, heard {operation.seen}"
        )
        if operation.code not in (0, refused):
            wrong.append(told)
        gone = client is None or client.gone < operation.answered + IN_FLIGHT_S
        if operation.code == 0 and operation.kind != CALL and not operation.seen and not gone:
            wrong.append(f"{told}; the client is there")
        self.counts[f"{operation.kind} {operation.code}"] += 1
        if self.is_calm(operation.sent_at, operation.answered):
            there = client is not None and client.gone > operation.answered
            if (operation.code == 0) is not there or (operation.kind != CALL and operation.seen != there):
                wrong.append(f"{told}; nothing was broken, and the client is {'there' if there else 'gone'}")

    def _pushes(self, wrong: list[str]) -> None:
        for number, push in enumerate(self.traffic.pushes):
            self.counts["pushed"] += push.acknowledged < math.inf
            self.counts["consumed"] += push.consumed
            if push.consumed > 1:
                wrong.append(f"push {number} was consumed {push.consumed} times")
            if push.consumed != 1 and self.is_calm(push.sent_at, push.acknowledged):
                wrong.append(f"push {number} was consumed {push.consumed} times, and nothing was broken")


def took(operation: Operation) -> str:
    """For messages."""
    return f"after {operation.answered - operation.sent_at:.2f} s"
