# SPDX-License-Identifier: Apache-2.0
"""What lanes carry: items, each a tagged msgpack array, inside a BATCH.

Fields may be added at the end with a default; an item whose tag is unknown is counted and skipped, the rest of its
batch stands. Times are int64 microseconds UTC.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from towline.protocols.link.frames import LinkError
from towline.protocols.link.limits import MAX_ITEMS

Lane: TypeAlias = Literal["urgent", "live", "backlog"]
LANES: Final[tuple[Lane, ...]] = ("urgent", "live", "backlog")

RecordKind: TypeAlias = Literal["metric", "event", "log"]
"""The kinds known today; a receiver keeps others as they are."""

Step: TypeAlias = Literal[
    "received",
    "delivered",
    "accepted",
    "rejected",
    "acked",
    "errored",
    "expired",
    "unknown",
    "not_executed",
    "timed_out",
]
"""What became of a command at the agent. ``not_executed`` is the journal's word that it never ran and never
will; ``expired`` implies it.
"""


class Dec(msgspec.Struct, array_like=True, tag="d", frozen=True):
    """A decimal number as its text, exactly as it was measured: ``["d", "298.15"]`` on the wire."""

    text: str


Value: TypeAlias = int | bool | str | Dec | None
"""A field's value: integer (64 bits), bool, text, decimal or null; never a float."""


class Record(msgspec.Struct, array_like=True, tag="r", frozen=True):
    """What a device measured at once.

    :param kind: ``metric``, ``event``, ``log``
    :param table: octo's appName
    :param source: octo's moduleName
    :param event_time_us: when it was measured
    :param fields: name → value
    """

    kind: str
    table: str
    source: str
    event_time_us: int
    fields: dict[str, Value]


class State(msgspec.Struct, array_like=True, tag="s", frozen=True):
    """The newest value of a state; older ones are forgotten. ``value`` is JSON text (bytes) as the plugin
    sent it.
    """

    app_guid: str
    table: str
    source: str
    name: str
    value: bytes
    time_us: int


class Declared(msgspec.Struct, array_like=True, tag="p", frozen=True):
    """A plugin registered. ``declaration`` is the JSON text of the update's ``params``."""

    app_guid: str
    app_name: str
    version: str
    display_name: str
    declaration: bytes
    time_us: int


class PluginPresence(msgspec.Struct, array_like=True, tag="o", frozen=True):
    """A plugin came or went. ``cause``: ``registered``, ``closed_by_plugin``, ``replaced``,
    ``agent_stopped``, ``agent_restarted``, …
    """

    app_guid: str
    app_name: str
    online: bool
    cause: str
    time_us: int


class Alert(msgspec.Struct, array_like=True, tag="a", frozen=True):
    """An alarm fired or was resolved. ``action`` is ``trigger`` or ``resolve``."""

    app_guid: str
    table: str
    source: str
    name: str
    action: str
    message: str
    time_us: int


class CommandStep(msgspec.Struct, array_like=True, tag="c", frozen=True):
    """A step of a command at the agent. ``result`` is JSON text (the acks' results) or null; ``note`` is for
    people.
    """

    command_id: str
    step: str
    time_us: int
    result: bytes | None = None
    note: str = ""


Item: TypeAlias = Record | State | Declared | PluginPresence | Alert | CommandStep


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """The body of BATCH: what one lane sends at once, encoded once, the same bytes whenever it is sent again.

    :param seq: 1, 2, … for each lane of a spool
    :param dropped: items lost at the agent since the batch before, by kind; never repeated
    """

    spool_id: str
    lane: Lane
    seq: int
    items: list[Item]
    dropped: dict[str, int] = {}
    unknown: int = 0
    """Set by the decoder: items of a kind this version does not know. Not sent."""


class _RawBatch(msgspec.Struct, frozen=True, kw_only=True, rename={"items_": "items"}):
    spool_id: str
    lane: Lane
    seq: int
    items_: list[msgspec.Raw]
    dropped: dict[str, int] = {}


_encoder = msgspec.msgpack.Encoder()
_batches = msgspec.msgpack.Decoder(Batch)
_raw_batches = msgspec.msgpack.Decoder(_RawBatch)
_items: msgspec.msgpack.Decoder[Item] = msgspec.msgpack.Decoder(Item)


def encode_item(item: Item) -> bytes:
    """One item as msgpack. LinkError ``link.item`` if a value cannot travel (an integer over 64 bits)."""
    try:
        return _encoder.encode(item)
    except (OverflowError, TypeError, ValueError) as error:
        raise LinkError("link.item", f"an item cannot be sent: {error}") from None


def decode_item(data: bytes | msgspec.Raw) -> Item:
    """The inverse of :func:`encode_item`; LinkError ``link.item``."""
    try:
        return _items.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LinkError("link.item", f"not an item: {error}") from None


def encode_batch(spool_id: str, lane: Lane, seq: int, items: list[bytes], dropped: dict[str, int]) -> bytes:
    """The body of a BATCH from items that are encoded already."""
    raw = _RawBatch(
        spool_id=spool_id, lane=lane, seq=seq, items_=[msgspec.Raw(item) for item in items], dropped=dropped
    )
    return _encoder.encode(raw)


def decode_batch(body: bytes | msgspec.Raw) -> Batch:
    """Read a BATCH body; LinkError ``link.batch`` if it is none. Items of unknown kinds are left out and
    counted in ``unknown``.
    """
    try:
        batch = _batches.decode(body)
        unknown = 0
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        batch, unknown = _decode_one_by_one(body)
    if batch.seq < 1 or len(batch.items) > MAX_ITEMS or (batch.dropped and min(batch.dropped.values()) < 0):
        raise LinkError("link.batch", f"a batch has its seq below 1, over {MAX_ITEMS} items or a negative count")
    return msgspec.structs.replace(batch, unknown=unknown) if unknown or batch.unknown else batch


def _decode_one_by_one(body: bytes | msgspec.Raw) -> tuple[Batch, int]:
    try:
        raw = _raw_batches.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LinkError("link.batch", f"not a batch: {error}") from None
    items: list[Item] = []
    unknown = 0
    for one in raw.items_:
        try:
            items.append(_items.decode(one))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            unknown += 1
    batch = Batch(spool_id=raw.spool_id, lane=raw.lane, seq=raw.seq, items=items, dropped=raw.dropped)
    return batch, unknown


def encode_joined(spool_id: str, lane: Lane, seq: int, count: int, joined: bytes, dropped: dict[str, int]) -> bytes:
    """As :func:`encode_batch`, from ``count`` encoded items that stand one after the other already."""
    array = msgspec.Raw(b"\xdd" + count.to_bytes(4, "big") + joined)
    body = {"spool_id": spool_id, "lane": lane, "seq": seq, "items": array, "dropped": dropped}
    return _encoder.encode(body)
