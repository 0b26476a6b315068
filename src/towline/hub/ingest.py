# SPDX-License-Identifier: Apache-2.0
"""Ingest: one batch, one transaction, then the acknowledgement and what the doors are told, with the same ids."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

import msgspec

from towline.errors import InvalidInput, NotFound, Unavailable
from towline.hub import events
from towline.hub.actor import Actor
from towline.hub.core import Core, log
from towline.hub.session import Session
from towline.hub.soundness import sound
from towline.protocols.link import messages as m
from towline.protocols.link.frames import Frame, LinkError
from towline.protocols.link.items import Batch, Lane, Record
from towline.protocols.link.lanes import STREAM_OF_LANE
from towline.store.rows import StepOutcome, Stored

if TYPE_CHECKING:
    from towline.hub.links import Links

_T = TypeVar("_T")

_ANNOUNCE_BYTES = 128 * 1024
"""About how much one happening may carry; the bus takes 256 KiB."""

REJECTED = "rejected"
"""The kind under which items that the hub cannot store are counted among a device's drops."""

_AUDIT_EVERY_S = 60.0

_LANES: dict[int, Lane] = {1: "urgent", 2: "live", 3: "backlog"}


class _Spool(msgspec.Struct):
    spool_id: str = ""


_spool_decoder = msgspec.msgpack.Decoder(_Spool)


class Ingest:
    """What lanes bring."""

    def __init__(self, core: Core, links: Links, on_steps: Callable[[str, Sequence[StepOutcome]], None]) -> None:
        self._core = core
        self._links = links
        self._on_steps = on_steps
        self._audited: dict[str, float] = {}

    def batch(self, session: Session, batch: Batch, done: Callable[[], None]) -> None:
        """Store a batch and acknowledge it, then call ``done``. What can never be stored is acknowledged too, counted and
        audited: a poisoned batch must not block its lane for ever. When the store cannot write, nothing is said: it comes
        again."""
        core = self._core
        now_us = core.clock.now_us()
        dropped = dict(batch.dropped)
        items, rejected, reason = sound(batch.items, now_us)
        if rejected:
            dropped[REJECTED] = dropped.get(REJECTED, 0) + rejected
        if batch.unknown:
            dropped["unknown_kind"] = dropped.get("unknown_kind", 0) + batch.unknown

        def stored(future: asyncio.Future[Stored]) -> None:
            done()
            if future.cancelled():
                return
            error = future.exception()
            if error is not None:
                core.spawn(self._failed(session, batch, dropped, error), "ingest")
                return
            self._stored(session, batch, future.result())
            if rejected and not future.result().duplicate:
                core.counters["ingest.rejected_items"] += rejected
                core.spawn(self._audit(session, batch.lane, batch.seq, rejected, "ingest.unsound", reason), "ingest")

        try:
            work = core.store.records.store_batch(
                session.workgroup,
                session.device_id,
                batch.spool_id,
                batch.lane,
                batch.seq,
                items,
                dropped,
                now_us,
            )
        except Unavailable as error:  # closed
            done()
            self._unavailable(session, error)
            return
        core.watch(work, stored)

    async def _failed(self, session: Session, batch: Batch, dropped: dict[str, int], error: BaseException) -> None:
        if isinstance(error, InvalidInput):
            items = len(batch.items)
            try:
                stored = await self._reject(session, batch.spool_id, batch.lane, batch.seq, items, dropped, error)
            except (NotFound, Unavailable) as again:
                error = again
            else:
                self._stored(session, batch, stored)
                return
        if isinstance(error, NotFound):  # deleted a moment ago; its link is being closed
            self._core.counters["ingest.no_device"] += 1
        elif isinstance(error, Unavailable):
            self._unavailable(session, error)
        else:
            raise error

    def _unavailable(self, session: Session, error: Unavailable) -> None:
        self._core.counters["ingest.store_unavailable"] += 1
        log.warning("a batch of %s cannot be stored now: %s", session.device_id, error)

    def _stored(self, session: Session, batch: Batch, stored: Stored) -> None:
        """It is committed: acknowledge, count, tell."""
        counters = self._core.counters
        self._ack(session, batch.spool_id, batch.lane, stored.acked)
        if stored.duplicate:
            counters["ingest.duplicates"] += 1
            return
        counters["ingest.batches"] += 1
        counters["ingest.records"] += len(stored.records)
        if stored.gap:
            counters["ingest.gaps"] += stored.gap
        self._tell(session.workgroup, stored)

    async def bad_batch(self, session: Session, frame: Frame, error: LinkError) -> bool:
        """A BATCH frame whose body is no batch: acknowledged as rejected when it is known what it is."""
        lane = _LANES.get(frame.stream)
        spool_id = self._spool_of(frame) or session.spool_id
        self._core.counters["ingest.malformed"] += 1
        if lane is None or not spool_id or frame.seq < 1 or error.code != "link.batch":
            return False
        try:
            stored = await self._reject(session, spool_id, lane, frame.seq, 1, {}, error)
        except (NotFound, Unavailable):
            return True
        self._ack(session, spool_id, lane, stored.acked)
        return True

    async def _reject(
        self,
        session: Session,
        spool_id: str,
        lane: Lane,
        seq: int,
        items: int,
        dropped: dict[str, int],
        error: InvalidInput,
    ) -> Stored:
        core = self._core
        core.counters["ingest.rejected"] += 1
        log.warning("batch %s/%d of %s is refused: %s", lane, seq, session.device_id, error)
        counted = {**dropped, REJECTED: dropped.get(REJECTED, 0) + items}
        stored = await core.store.records.store_batch(
            session.workgroup, session.device_id, spool_id, lane, seq, [], counted, core.clock.now_us()
        )
        if not stored.duplicate:
            await self._audit(session, lane, seq, items, error.code, str(error)[:300])
        return stored

    async def _audit(self, session: Session, lane: Lane, seq: int, items: int, code: str, reason: str) -> None:
        """Write down that items were refused; for each device at most once a minute, the drops count every one."""
        now = self._core.clock.monotonic()
        if self._audited.get(session.device_id, -_AUDIT_EVERY_S) > now - _AUDIT_EVERY_S:
            return
        self._audited[session.device_id] = now
        actor = Actor.system(session.workgroup)
        detail = {"lane": lane, "seq": seq, "items": items, "code": code, "reason": reason}
        await self._core.audit(actor, "device.batch_rejected", "device", session.device_id, **detail)

    @staticmethod
    def _spool_of(frame: Frame) -> str:
        try:
            return _spool_decoder.decode(frame.body).spool_id
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return ""

    def _ack(self, session: Session, spool_id: str, lane: Lane, seq: int) -> None:
        ack = m.Ack(spool_id=spool_id, lane=lane, seq=seq)
        self._links.send(session, m.encode(ack, stream=STREAM_OF_LANE[lane], seq=seq))

    def _tell(self, workgroup: str, stored: Stored) -> None:
        """Announce what was committed, in the order of the commit."""
        core, device_id = self._core, stored.device_id
        if stored.steps:
            self._on_steps(workgroup, stored.steps)
        if stored.records:
            for payload in payloads(workgroup, stored):
                core.announce_encoded(payload)
        if stored.states:
            states = [
                events.ChangedState(
                    app_guid=state.app_guid,
                    table=state.table,
                    source=state.source,
                    name=state.name,
                    value=state.value.decode(errors="replace"),
                    time_us=state.time_us,
                )
                for state in stored.states
            ]
            for chunk in _chunks(states, lambda state: 150 + 4 * len(state.value)):
                core.announce(events.StatesChanged(workgroup=workgroup, device_id=device_id, states=chunk))
        for row in stored.declarations:
            core.announce(
                events.Declared(
                    workgroup=workgroup,
                    device_id=device_id,
                    app_guid=row.app_guid,
                    app_name=row.app_name,
                    version=row.version,
                )
            )
        for presence in stored.plugin_presences:
            core.announce(
                events.PluginPresence(
                    workgroup=workgroup,
                    device_id=device_id,
                    app_guid=presence.app_guid,
                    app_name=presence.app_name,
                    online=presence.online,
                    cause=presence.cause,
                    since_us=presence.since_us,
                )
            )
        for alert in stored.alerts:
            core.announce(
                events.AlertRaised(
                    workgroup=workgroup,
                    device_id=device_id,
                    app_guid=alert.app_guid,
                    table=alert.table,
                    source=alert.source,
                    name=alert.name,
                    action=alert.action,
                    message=alert.message,
                    time_us=alert.time_us,
                )
            )


def payloads(workgroup: str, stored: Stored) -> Iterator[bytes]:
    """The records as encoded happenings, in order; in halves of halves where they would not fit a bus message."""
    records = [_record(record, id_) for id_, record in enumerate(stored.records, stored.first_message_id)]
    return _halved(workgroup, stored, records)


def _halved(workgroup: str, stored: Stored, records: list[events.StoredRecord]) -> Iterator[bytes]:
    payload = events.encode(
        events.RecordsStored(
            workgroup=workgroup,
            device_id=stored.device_id,
            first_message_id=records[0].message_id,
            store_time_us=stored.stored_us,
            records=records,
        )
    )
    if len(payload) <= _ANNOUNCE_BYTES or len(records) == 1:
        yield payload
        return
    middle = len(records) // 2
    yield from _halved(workgroup, stored, records[:middle])
    yield from _halved(workgroup, stored, records[middle:])


def _chunks(items: list[_T], size: Callable[[_T], int]) -> Iterator[list[_T]]:
    chunk: list[_T] = []
    total = 0
    for item in items:
        bytes_ = size(item)
        if chunk and total + bytes_ > _ANNOUNCE_BYTES:
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += bytes_
    if chunk:
        yield chunk


def _record(record: Record, message_id: int) -> events.StoredRecord:
    return events.StoredRecord(
        message_id=message_id,
        kind=record.kind,
        table=record.table,
        source=record.source,
        event_time_us=record.event_time_us,
        # A Dec is ["d", text] on the wire, as a decimal in a happening is.
        fields=cast("dict[str, events.WireValue]", record.fields),
    )
