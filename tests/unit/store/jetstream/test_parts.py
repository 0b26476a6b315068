# SPDX-License-Identifier: Apache-2.0
"""Parts of the JetStream store that need no server, and requests against a server that is slow to answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.helpers import until
from towline.errors import StartError, Unavailable
from towline.store.jetstream import confirmed, feed
from towline.store.jetstream.confirmed import Confirmed, Refused
from towline.store.jetstream.setup import check_sync
from towline.store.jetstream.topics import _slug


def test_ack_subjects_of_both_kinds() -> None:
    plain = "$JS.ACK.stream.back-ends.3.17.20.1795922309111164759.4"
    domain = "$JS.ACK.hub.ACCOUNT.stream.back-ends.3.17.20.1795922309111164759.4"
    assert [feed._deliveries(one) for one in (plain, domain, domain + ".token")] == [3, 3, 3]
    assert [feed.sequence(one) for one in (plain, domain)] == ["17", "17"]


def test_names_become_tokens_and_stay_apart() -> None:
    names = ["orders", "orders.dead", "orders_dead", "Größe", "a b", "a>b", "a*b", "x" * 200, "x" * 199 + "y"]
    tokens = [_slug(name) for name in names]
    assert len(set(tokens)) == len(names)
    assert tokens[0] == "orders"
    assert all(token.isascii() and token.replace("-", "").replace("_", "").isalnum() for token in tokens)


@pytest.mark.parametrize(
    ("varz", "code"),
    [
        ({"jetstream": {"config": {"sync_interval": 120_000_000_000}}}, "topics.not_synced"),
        ({"jetstream": {}}, "topics.monitor"),
        ({}, "topics.monitor"),
        ([], "topics.monitor"),
    ],
)
def test_what_the_monitoring_page_says(varz: Any, code: str) -> None:
    with pytest.raises(StartError) as refused:
        check_sync(varz, "http://127.0.0.1:8222")
    assert refused.value.code == code
    check_sync({"jetstream": {"config": {"sync_always": True}}}, "")


class Server:
    """A client of a server that does as ``answer`` says: data, a status, or nothing."""

    def __init__(self, answer: Callable[[int], bytes | int | None]) -> None:
        self._answer = answer
        self._hear: Callable[[Any], Awaitable[None]]
        self.published: list[tuple[str, bytes, dict[str, str] | None]] = []

    def new_inbox(self) -> str:
        return "inbox"

    async def subscribe(self, subject: str, cb: Callable[[Any], Awaitable[None]]) -> None:
        self._hear = cb

    async def publish(self, subject: str, data: bytes, reply: str = "", headers: dict[str, str] | None = None) -> None:
        self.published.append((subject, data, headers))
        answer = self._answer(len(self.published))
        if answer is None or not reply:
            return
        status = {"Status": str(answer)} if isinstance(answer, int) else None
        body = b"" if isinstance(answer, int) else answer
        await self._hear(SimpleNamespace(subject=reply, headers=status, data=body))


async def connected(confirms: Confirmed, server: Any) -> None:
    await confirms.connected(server)
    confirms.up(server)


def loop_time() -> float:
    return asyncio.get_running_loop().time()


async def test_what_nobody_takes_is_sent_again_with_the_same_id() -> None:
    confirms = Confirmed(loop_time)
    later = json.dumps({"error": {"code": 503, "description": "no leader"}}).encode()
    answers: list[bytes | int] = [503, later, b'{"seq":1}']
    server = Server(lambda number: answers[number - 1])
    await connected(confirms, server)
    assert await confirms.request("s", b"data", {"Nats-Msg-Id": "1"}) == b'{"seq":1}'
    assert server.published == [("s", b"data", {"Nats-Msg-Id": "1"})] * 3
    assert confirms.counters["sent_again"] == 2
    await confirms.close(1)


async def test_a_cut_sends_again_what_was_not_confirmed() -> None:
    confirms = Confirmed(loop_time)
    deaf, other = Server(lambda number: None), Server(lambda number: b"{}")
    await connected(confirms, deaf)
    waiting = [confirms.request("s", b"%d" % number) for number in range(3)]
    await until(lambda: len(deaf.published) == 3)
    confirms.down()
    waiting.append(confirms.request("s", b"3"))
    confirms.tell("s", b"lost")
    await connected(confirms, other)
    assert await asyncio.gather(*waiting) == [b"{}"] * 4
    assert [data for _, data, _ in other.published] == [b"0", b"1", b"2", b"3"]
    assert confirms.counters["untold"] == 1
    await confirms.close(1)


async def test_an_error_ends_a_request_and_silence_does_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmed, "WAIT_S", 0.3)
    confirms = Confirmed(loop_time)
    full = json.dumps({"error": {"code": 503, "err_code": 10077, "description": "maximum messages exceeded"}})
    server = Server(lambda number: full.encode() if number == 1 else None)
    await connected(confirms, server)
    with pytest.raises(Refused, match="maximum messages"):
        await confirms.request("s", b"1")
    with pytest.raises(Unavailable) as silent:
        await confirms.request("s", b"2")
    assert silent.value.code == "topics.unconfirmed"
    left = confirms.request("s", b"3")
    await confirms.close(0.05)
    with pytest.raises(Unavailable):
        await left
    with pytest.raises(Unavailable) as closed:
        confirms.request("s", b"4")
    assert closed.value.code == "store.closed"
