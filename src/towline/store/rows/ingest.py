# SPDX-License-Identifier: Apache-2.0
"""What storing a batch answers."""

from __future__ import annotations

from collections.abc import Sequence

from towline.protocols.link.items import Record, State
from towline.store.rows.common import Row
from towline.store.rows.ledger import StepOutcome
from towline.store.rows.records import AlertRow, DeclarationRow, PluginPresenceRow, StoredRecord


class Stored(Row, frozen=True, kw_only=True):
    """What one batch did. All of it is committed.

    ``duplicate``: the sequence was stored before; acknowledge it, nothing was stored now and the lists are empty.
    ``acked``: the lane's last stored sequence, to be sent in the ACK.
    ``records[i]`` has message_id ``first_message_id + i``; all have store time ``stored_us``.
    ``gap``: sequences missing before this batch (0 mostly).
    ``refused``: ``(index in items, why)`` of items that no store can keep (an integer over 64 bits, a state that is not
    UTF-8); counted with the device's drops as ``refused``, the rest is stored.
    """

    device_id: str
    duplicate: bool
    acked: int
    gap: int = 0
    refused: Sequence[tuple[int, str]] = ()
    stored_us: int = 0
    first_message_id: int = 0
    records: Sequence[Record] = ()
    states: Sequence[State] = ()
    declarations: Sequence[DeclarationRow] = ()
    plugin_presences: Sequence[PluginPresenceRow] = ()
    alerts: Sequence[AlertRow] = ()
    steps: Sequence[StepOutcome] = ()

    def stored_records(self) -> list[StoredRecord]:
        """The records with their ids; made only when somebody watches."""
        return [
            StoredRecord(
                message_id=message_id,
                kind=record.kind,
                table=record.table,
                source=record.source,
                event_time_us=record.event_time_us,
                stored_us=self.stored_us,
                fields=dict(record.fields),
            )
            for message_id, record in enumerate(self.records, self.first_message_id)
        ]
