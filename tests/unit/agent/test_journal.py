# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.agent.fakes import GUID, Sink, opened
from towline.agent.journal import FINAL, Journal
from towline.protocols.link.messages import Command, CommandQuery

NOW = 1_700_000_000_000_000
DAY_US = 86_400_000_000


def command(command_id: str = "c", expires: float = 60.0) -> Command:
    return Command(command_id=command_id, app_guid=GUID, module="room", name="greet", expires_in_s=expires)


@contextlib.asynccontextmanager
async def journal(path: Path | None = None) -> AsyncIterator[tuple[Journal, Sink]]:
    sink = Sink()
    async with opened(path) as database:
        yield Journal(database, sink), sink


async def test_the_walk_of_a_command() -> None:
    async with journal() as (book, sink):
        entry = await book.receive(command(), NOW)
        assert entry is not None
        assert entry.deadline_us == NOW + 60_000_000
        assert await book.delivering("c")
        assert await book.step("c", "delivered", NOW + 1)
        assert await book.step("c", "accepted", NOW + 2)
        assert await book.step("c", "acked", NOW + 3, result=b'{"a":1}')
        assert [step for _, step in sink.steps()] == ["received", "delivered", "accepted", "acked"]
        assert not await book.step("c", "errored", NOW + 4)
        final = await book.entry("c")
        assert final is not None
        assert (final.state, final.result, final.delivered_us) == ("acked", b'{"a":1}', NOW + 1)


async def test_a_repeated_command_is_reported_as_it_stands_and_not_run_again() -> None:
    async with journal() as (book, sink):
        await book.receive(command(), NOW)
        await book.delivering("c")
        await book.step("c", "delivered", NOW)
        await book.step("c", "acked", NOW, result=b"{}")
        assert await book.receive(command(), NOW + 5) is None
        assert sink.steps()[-1] == ("c", "acked")
        assert not await book.delivering("c")


async def test_what_was_cut_while_it_was_handed_over_is_unknown(tmp_path: Path) -> None:
    async with journal(tmp_path / "db") as (book, _):
        await book.receive(command("cut"), NOW)
        await book.delivering("cut")
        await book.receive(command("waits"), NOW + 1)
        await book.receive(command("done"), NOW + 2)
        await book.delivering("done")
        await book.step("done", "delivered", NOW)
    async with journal(tmp_path / "db") as (book, sink):
        entries = await book.recover(NOW + 10)
        assert [(entry.command_id, entry.state) for entry in entries] == [
            ("cut", "unknown"),
            ("waits", "received"),
            ("done", "delivered"),
        ]
        assert sink.steps() == [("cut", "unknown")]
        assert await book.step("cut", "acked", NOW + 20)


async def test_a_timeout_leaves_the_command_open_for_a_late_ack() -> None:
    async with journal() as (book, sink):
        await book.receive(command(), NOW)
        await book.delivering("c")
        await book.step("c", "delivered", NOW)
        assert await book.step("c", "timed_out", NOW)
        assert await book.step("c", "acked", NOW, note="after the minute")
        assert [step for _, step in sink.steps()] == ["received", "delivered", "timed_out", "acked"]


async def test_a_query_settles_what_is_not_known() -> None:
    async with journal() as (book, sink):
        assert await book.query(CommandQuery(command_ids=["never"]), NOW) == ["never"]
        assert sink.steps() == [("never", "not_executed")]
        assert await book.receive(command("never"), NOW + 1) is None
        assert not await book.delivering("never")
        assert sink.steps()[-1] == ("never", "not_executed")


async def test_a_journal_younger_than_a_command_does_not_say_that_it_never_ran(tmp_path: Path) -> None:
    async with journal(tmp_path / "db") as (book, sink):
        await book.recover(NOW)
        later = NOW + 10_000_000
        asked = CommandQuery(command_ids=["before", "after", "unsaid"], sent_s_ago=[11.0, 9.0])
        assert await book.query(asked, later) == ["before", "after", "unsaid"]
        assert sink.steps() == [("before", "unknown"), ("after", "not_executed"), ("unsaid", "not_executed")]
        old = Command(command_id="old", app_guid=GUID, module="m", name="n", sent_s_ago=11.0)
        assert await book.receive(old, later) is None
        assert not await book.delivering("old")
        assert sink.steps()[-1] == ("old", "unknown")
    async with journal(tmp_path / "db") as (book, sink):
        await book.recover(NOW + 60_000_000)  # an older journal does not begin anew
        assert await book.query(CommandQuery(command_ids=["mid"], sent_s_ago=[30.0]), NOW + 60_000_000) == ["mid"]
        assert sink.steps()[-1] == ("mid", "not_executed")


async def test_cancelling_works_until_delivery_begins() -> None:
    async with journal() as (book, sink):
        await book.receive(command("early"), NOW)
        await book.receive(command("late"), NOW)
        await book.delivering("late")
        assert await book.query(CommandQuery(command_ids=["early", "late"], cancel=True), NOW) == ["early"]
        assert sink.steps()[-2:] == [("early", "not_executed"), ("late", "received")]
        assert not await book.delivering("early")


async def test_a_query_without_cancel_only_asks() -> None:
    async with journal() as (book, sink):
        await book.receive(command(), NOW)
        assert await book.query(CommandQuery(command_ids=["c"]), NOW) == []
        assert sink.steps()[-1] == ("c", "received")
        assert await book.delivering("c")


async def test_what_could_not_be_written_waits_again() -> None:
    async with journal() as (book, _):
        await book.receive(command(), NOW)
        await book.delivering("c")
        await book.undelivered("c")
        assert await book.delivering("c")


async def test_rows_live_thirty_days_and_no_command_longer() -> None:
    async with journal() as (book, _):
        entry = await book.receive(command(expires=1e12), NOW)
        assert entry is not None
        assert entry.deadline_us == NOW + 30 * DAY_US
        await book.step("c", "delivered", NOW)
        assert await book.prune(NOW + 29 * DAY_US) == 0
        assert await book.prune(NOW + 31 * DAY_US) == 1
        assert await book.entry("c") is None


@given(st.lists(st.sampled_from(["deliver", "undo", "delivered", "expire", "acked", "query", "again"]), max_size=12))
@settings(max_examples=40, deadline=None)
def test_what_is_reported_expired_or_not_executed_was_never_written(actions: list[str]) -> None:
    import asyncio

    async def run() -> None:
        async with journal() as (book, sink):
            await book.receive(command(), NOW)
            written = holding = False
            for action in actions:
                if action == "deliver" and await book.delivering("c"):
                    holding = True
                elif action == "undo" and holding:
                    await book.undelivered("c")
                    holding = False
                elif action == "delivered" and holding:
                    written, holding = True, False
                    await book.step("c", "delivered", NOW)
                elif action == "expire" and not written and not holding:
                    await book.step("c", "expired", NOW)
                elif action == "acked" and written:
                    await book.step("c", "acked", NOW)
                elif action == "query":
                    await book.query(CommandQuery(command_ids=["c"], cancel=True), NOW)
                elif action == "again":
                    await book.receive(command(), NOW)
            steps = [step for _, step in sink.steps()]
            never = "expired" in steps or "not_executed" in steps
            assert not (never and written)
            entry = await book.entry("c")
            assert entry is not None
            if never:
                assert entry.state in FINAL

    asyncio.run(run())


async def test_a_clock_that_jumps_ahead_forgets_nothing_that_waits() -> None:
    async with journal() as (book, _):
        await book.receive(command("waits"), NOW)
        await book.receive(command("ended"), NOW)
        await book.step("ended", "expired", NOW)
        assert await book.prune(NOW + 400 * DAY_US) == 1
        assert [entry.command_id for entry in await book.recover(NOW + 400 * DAY_US)] == ["waits"]
