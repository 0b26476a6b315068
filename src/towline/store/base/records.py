# SPDX-License-Identifier: Apache-2.0
"""What devices measured and said: ingest, queries, plugins."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol

from towline.protocols.link.items import Item, Lane
from towline.store.rows import (
    AlertRow,
    DevicePlugin,
    DropCount,
    LaneGap,
    LaneSequences,
    Latest,
    PluginCredential,
    SeriesResult,
    StateValue,
    Stored,
    StoredRecord,
)


class RecordStore(Protocol):
    """Ingest and queries of records, states and alerts.

    message_id: 63 bits, given in the commit in commit order, strictly rising in the whole database (so for every
    device), with holes. Store time: the commit's ``now_us``, never lower than an earlier commit's.
    """

    def store_batch(
        self,
        workgroup: str,
        device_id: str,
        spool_id: str,
        lane: Lane,
        seq: int,
        items: Sequence[Item],
        dropped: Mapping[str, int],
        now_us: int,
    ) -> Awaitable[Stored]:
        """Everything a batch carries and the lane's sequence, in one transaction that is on disk when this returns.

        ``seq`` at most the stored sequence: a duplicate, nothing is stored. More than one above: the gap is recorded.
        Calls that come within 20 ms of each other share a commit; one that cannot be stored fails alone.

        States: the last to arrive wins, except that in the backlog lane an older ``time_us`` than stored loses.
        Command steps go through the ledger's rules (:meth:`LedgerStore.apply_step`).

        An item that cannot be kept is left out and told in ``refused``: a batch is never sent again for its sake.

        NotFound ``device.unknown``; InvalidInput ``lane.bad_sequence`` (``seq`` below 1 or over 2**62).
        """
        ...

    async def lane_sequences(self, workgroup: str, device_id: str, spool_id: str) -> LaneSequences:
        """The last stored sequences of a spool: what WELCOME tells the agent."""
        ...

    async def gaps(self, workgroup: str, device_id: str, limit: int = 100) -> list[LaneGap]:
        """Newest first."""
        ...

    async def drops(self, workgroup: str, device_id: str) -> list[DropCount]: ...

    async def series(
        self,
        workgroup: str,
        device_id: str,
        kind: str = "metric",
        *,
        tables: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        fields: Sequence[str] | None = None,
        from_us: int,
        to_us: int,
        max_points: int = 600,
    ) -> SeriesResult:
        """Fields over time with ``from_us`` ≤ event time < ``to_us``; a filter of None lets all through.

        A series of more than ``max_points`` (at least 4) is thinned: numbers to the lowest and highest of each of
        ``max_points // 2`` equal spans of the window (peaks stay visible), others to every n-th and the last.
        Reads at most 2,000,000 readings, newest first; ``truncated`` says that there were more.
        """
        ...

    async def latest(
        self,
        workgroup: str,
        device_ids: Sequence[str],
        *,
        tables: Sequence[str] | None = None,
        fields: Sequence[str] | None = None,
        since_us: int = 0,
    ) -> dict[str, list[Latest]]:
        """The newest value of each metric series that is found among a device's newest blocks with an event time of
        at least ``since_us``. Devices without any are left out."""
        ...

    async def events(
        self,
        workgroup: str,
        device_id: str,
        *,
        kind: str = "event",
        table: str | None = None,
        limit: int = 50,
        before: int | None = None,
    ) -> list[StoredRecord]:
        """Records of a kind, highest message_id first, with message_id < ``before``. Meant for kinds other than
        ``metric``. ``limit`` 1–1000."""
        ...

    async def states(self, workgroup: str, device_id: str) -> list[StateValue]:
        """By appGUID, source, name."""
        ...

    async def alerts(
        self, workgroup: str, device_id: str | None = None, *, limit: int = 50, before: int | None = None
    ) -> list[AlertRow]:
        """Highest message_id first."""
        ...

    async def sweep(self, workgroup: str, before_us: int, limit: int = 1000, kind: str | None = None) -> int:
        """Retention: remove blocks (and alerts, gaps) whose records were all stored before ``before_us``, and what deleted
        devices left; at most ``limit`` blocks. How many went; call again while it equals ``limit``."""
        ...

    async def compact(self, before_us: int, limit: int = 1000) -> int:
        """Join small blocks stored before ``before_us`` into compressed ones of at most an hour each. At most
        ``limit`` small blocks; how many were joined, 0 when nothing is left to do."""
        ...


class PluginStore(Protocol):
    """Plugins' credentials, and what is known of plugins on devices."""

    async def create_credential(self, credential: PluginCredential) -> PluginCredential:
        """Conflict ``plugin.exists`` when the appGUID has one that is not revoked (a revoked one is replaced)."""
        ...

    async def credential(self, workgroup: str, app_guid: str) -> PluginCredential | None:
        """Also a revoked one: see ``revoked_us``."""
        ...

    async def credentials(self, workgroup: str) -> list[PluginCredential]:
        """Those not revoked, by name."""
        ...

    async def revoke_credential(self, workgroup: str, app_guid: str, now_us: int) -> bool:
        """False if it was revoked already. NotFound ``plugin.unknown``."""
        ...

    async def devices_with(self, workgroup: str, app_guid: str) -> list[str]:
        """Ids of devices that ever declared it (to push a revocation)."""
        ...

    async def of_device(self, workgroup: str, device_id: str) -> list[DevicePlugin]:
        """Declarations with presences, by appName."""
        ...
