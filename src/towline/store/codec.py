# SPDX-License-Identifier: Apache-2.0
"""How records are kept: many in one block of bytes. Pure; the same for every database.

Two forms, told apart by the first byte:

``1`` plain: as a batch came, record by record (msgpack): cheap to write, what ingest stores. ::

    [first message_id, stored_us, [[series id, …] for each shape], [[shape, id offset, event_time_us, [value, …]], …]]

``2`` columns: what compaction makes of many plain blocks, zlib over msgpack. Records with the same series form a
group; a group is one column of message ids, of store times and of event times, and one for each series::

    [[[series id, …], count, ids, stored times, event times, [column, …]], …]

Integers (also times, ids, and decimals without their point) are kept as differences divided by their common
divisor: ``[first, divisor, step, …]``, and ``[first, divisor, step]`` when all steps are equal. A column is
``[code, …]``, see ``_ENCODERS``. Decimals come back digit for digit; what is not in canonical form (``+1``, ``007``,
``-0.0``) is kept as its text.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from towline.protocols.link.items import Dec
from towline.store.rows.common import Date, Value

PLAIN: Final = 1
COLUMNS: Final = 2

MAX_RECORDS: Final = 100_000
"""Records of one block of columns."""

_LEVEL: Final = 6
_LARGEST: Final = 2**62 - 1
"""Integers up to here can be kept as differences: no step leaves 64 bits."""
_MAX_INFLATED: Final = 256 * 1024 * 1024
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.([0-9]{1,18}))?", re.ASCII)


class CodecError(ValueError):
    """Not a block of a known form, or a value that no block can hold."""


class Entry(NamedTuple):
    """One record: ``values[i]`` belongs to the series ``series[i]``."""

    message_id: int
    stored_us: int
    event_time_us: int
    series: tuple[int, ...]
    values: Sequence[Value]


class Column(NamedTuple):
    """The readings of one series in a block, in storing order.

    ``keys``: comparable numbers for thinning, None when not all values are numbers. ``at(i)``: the i-th value.
    """

    series: int
    times: Sequence[int]
    keys: Sequence[float] | None
    at: Callable[[int], Value]


PlainRecord: TypeAlias = tuple[int, int, int, Sequence[Value]]
"""(number of its shape, message_id − first message_id, event_time_us, values)"""

_Plain: TypeAlias = tuple[int, int, list[tuple[int, ...]], list[tuple[int, int, int, list[Value]]]]
_Group: TypeAlias = tuple[tuple[int, ...], int, list[int], list[int], list[int], list[msgspec.Raw]]

_encoder = msgspec.msgpack.Encoder()
_plain_decoder: msgspec.msgpack.Decoder[_Plain] = msgspec.msgpack.Decoder(_Plain)
_groups_decoder: msgspec.msgpack.Decoder[list[_Group]] = msgspec.msgpack.Decoder(list[_Group])
_column_decoder: msgspec.msgpack.Decoder[list[Any]] = msgspec.msgpack.Decoder(list[Any])
_values_decoder: msgspec.msgpack.Decoder[tuple[int, list[Value]]] = msgspec.msgpack.Decoder(tuple[int, list[Value]])

TYPES: Final[frozenset[type]] = frozenset({int, bool, str, Dec, Date, type(None)})
"""Types of the values that a block can hold; integers must fit 64 bits."""


# -- plain -------------------------------------------------------------------------------------------------------


def encode_plain(
    first_id: int, stored_us: int, shapes: Sequence[tuple[int, ...]], records: Sequence[PlainRecord]
) -> bytes:
    """A plain block. CodecError if a value cannot be kept (an integer over 64 bits, half a surrogate pair)."""
    try:
        return b"\x01" + _encoder.encode((first_id, stored_us, shapes, records))
    except (OverflowError, TypeError, ValueError) as error:
        raise CodecError(str(error)) from None


def _decode_plain(block: memoryview) -> _Plain:
    try:
        return _plain_decoder.decode(block)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError(f"a damaged plain block: {error}") from None


# -- columns -----------------------------------------------------------------------------------------------------


def encode(entries: Sequence[Entry]) -> bytes:
    """A block of columns, of at most MAX_RECORDS. Entries with the same series form a group and keep their order."""
    if len(entries) > MAX_RECORDS:
        raise CodecError(f"a block holds {MAX_RECORDS} records, not {len(entries)}")
    groups: dict[tuple[int, ...], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.series, []).append(entry)
    body = []
    for series, members in groups.items():
        ids, stored, times, _, values = zip(*members, strict=True)
        columns = [_encode_column(column) for column in zip(*values, strict=True)]
        body.append((series, len(members), _deltas(ids), _deltas(stored), _deltas(times), columns))
    try:
        return b"\x02" + zlib.compress(_encoder.encode(body), _LEVEL)
    except (OverflowError, TypeError, ValueError) as error:
        raise CodecError(str(error)) from None


def _decode_groups(block: memoryview) -> list[_Group]:
    try:
        inflater = zlib.decompressobj()
        body = inflater.decompress(block, _MAX_INFLATED)
        if inflater.unconsumed_tail or not inflater.eof:
            raise CodecError("a damaged block of columns: its length is wrong")
        groups = _groups_decoder.decode(body)
        if not all(1 <= group[1] <= MAX_RECORDS and len(group[0]) == len(group[5]) for group in groups):
            raise CodecError("a damaged block of columns: a group of impossible size")
        return groups
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError(f"a damaged block of columns: {error}") from None


def _deltas(numbers: Sequence[int]) -> list[int]:
    """``[first, divisor, step, …]``; ``[first]`` for one number, one step when all are equal."""
    if len(numbers) == 1:
        return [numbers[0]]
    steps = [b - a for a, b in pairwise(numbers)]
    divisor = math.gcd(*steps) or 1
    first = steps[0]
    if steps.count(first) == len(steps):
        return [numbers[0], divisor, first // divisor]
    return [numbers[0], divisor, *(steps if divisor == 1 else [step // divisor for step in steps])]


def _numbers(deltas: Sequence[int], count: int) -> list[int]:
    """The inverse of :func:`_deltas`."""
    if len(deltas) == 1 and count == 1:
        return [deltas[0]]
    if len(deltas) == 3:
        first, step = deltas[0], deltas[1] * deltas[2]
        return [first + step * n for n in range(count)]
    if len(deltas) != count + 1:
        raise CodecError("a damaged block of columns: a column has another length than its group")
    number, divisor = deltas[0], deltas[1]
    numbers = [number]
    for step in deltas[2:]:
        number += step * divisor
        numbers.append(number)
    return numbers


# Codes of columns. Never renumber: blocks live for months.
_VALUES: Final = 0  # [0, [value, …]]                        anything, also mixed
_SAME: Final = 1  # [1, [value]]                             one value throughout
_INTEGERS: Final = 2  # [2, deltas]
_DECIMALS: Final = 3  # [3, deltas of the scaled, scale]     scale: one for all, or a list of one for each
_DATES: Final = 4  # [4, deltas of µs]


def _encode_column(values: Sequence[Value]) -> list[Any]:
    first = values[0]
    kinds = set(map(type, values))
    if len(kinds) == 1:
        if values.count(first) == len(values):
            return [_SAME, [first]]
        kind = type(first)
        if kind is int and max(values) <= _LARGEST and min(values) >= -_LARGEST:  # type: ignore[type-var,operator]
            return [_INTEGERS, _deltas(values)]  # type: ignore[arg-type]
        if kind is Dec:
            return _encode_decimals([value.text for value in values]) or [_VALUES, values]  # type: ignore[union-attr]
        if kind is Date:
            return _encode_dates([value.us for value in values]) or [_VALUES, values]  # type: ignore[union-attr]
    return [_VALUES, values]


def _encode_dates(dates: list[int]) -> list[Any] | None:
    return [_DATES, _deltas(dates)] if max(dates) <= _LARGEST and min(dates) >= -_LARGEST else None


def _encode_decimals(texts: list[str]) -> list[Any] | None:
    scaled: list[tuple[int, int]] = []
    for text in texts:
        match = _DECIMAL.fullmatch(text)
        if match is None:
            return None
        digits = match[1]
        number = int(text) if digits is None else int(text.replace(".", ""))
        if not number and text[0] == "-":
            return None
        scaled.append((number, 0 if digits is None else len(digits)))
    scales = [scale for _, scale in scaled]
    scale = max(scales)
    if min(scales) == scale:
        numbers = [number for number, _ in scaled]
        kept: int | list[int] = scale
    else:
        numbers = [number * 10 ** (scale - own) for number, own in scaled]
        kept = scales
    if max(numbers) > _LARGEST or min(numbers) < -_LARGEST:
        return None
    return [_DECIMALS, _deltas(numbers), kept]


def decimal_text(number: int, scale: int) -> str:
    """``number`` ÷ 10^``scale`` with exactly ``scale`` digits behind the point."""
    if not scale:
        return str(number)
    digits = str(abs(number)).rjust(scale + 1, "0")
    return f"{'-' if number < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"


def _decode_column(series: int, times: list[int], raw: msgspec.Raw, count: int) -> Column:
    code = memoryview(raw)[1]
    if code in (_VALUES, _SAME):
        _, values = _values_decoder.decode(raw)
        if code == _SAME:
            only = values[0]
            key = _key(only)
            return Column(series, times, None if key is None else [key] * count, lambda _: only)
        if len(values) != count:
            raise CodecError("a damaged block of columns: a column has another length than its group")
        return Column(series, times, _keys(values), values.__getitem__)
    column = _column_decoder.decode(raw)
    numbers = _numbers(column[1], count)
    if code == _INTEGERS:
        return Column(series, times, numbers, numbers.__getitem__)
    if code == _DATES:
        return Column(series, times, None, lambda i: Date(numbers[i]))
    if code != _DECIMALS:
        raise CodecError(f"a block of columns holds code {code}, which this version does not know")
    kept = column[2]
    scales = [kept] if isinstance(kept, int) else kept
    if not all(0 <= scale <= 18 for scale in scales) or (kept is scales and len(scales) != count):
        raise CodecError("a damaged block of columns: impossible scales")
    if isinstance(kept, int):
        scale = kept
        return Column(series, times, _scaled(numbers, scale), lambda i: Dec(decimal_text(numbers[i], scale)))
    scale = max(scales)
    return Column(
        series,
        times,
        _scaled(numbers, scale),
        lambda i: Dec(decimal_text(numbers[i] // 10 ** (scale - kept[i]), kept[i])),
    )


def _scaled(numbers: list[int], scale: int) -> Sequence[float]:
    if not scale:
        return numbers
    divisor = 10**scale
    return [number / divisor for number in numbers]


def _key(value: Value) -> float | None:
    """A value as a number for comparing, None if it is none."""
    if isinstance(value, Dec):
        try:
            key = float(value.text)
        except ValueError:
            return None
        return key if math.isfinite(key) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _keys(values: Sequence[Value]) -> list[float] | None:
    keys = []
    for value in values:
        key = _key(value)
        if key is None:
            return None
        keys.append(key)
    return keys


# -- reading -----------------------------------------------------------------------------------------------------


def decode(block: bytes) -> list[Entry]:
    """All records of a block of either form, by message_id. CodecError if it is damaged."""
    form, body = _form(block)
    if form == PLAIN:
        first, stored, shapes, records = _decode_plain(body)
        try:
            return [Entry(first + n, stored, time, shapes[shape], values) for shape, n, time, values in records]
        except IndexError:
            raise CodecError("a damaged plain block: a record of no shape") from None
    entries = []
    for series, count, ids, stored_times, event_times, raws in _decode_groups(body):
        times = _numbers(event_times, count)
        try:
            columns = [_decode_column(0, times, raw, count) for raw in raws]
        except (msgspec.MsgspecError, UnicodeDecodeError, IndexError, TypeError) as error:
            raise CodecError(f"a damaged block of columns: {error}") from None
        entries += [
            Entry(message_id, stored, time, series, [column.at(i) for column in columns])
            for i, (message_id, stored, time) in enumerate(
                zip(_numbers(ids, count), _numbers(stored_times, count), times, strict=True)
            )
        ]
    entries.sort()
    return entries


def columns(block: bytes, wanted: Collection[int]) -> Iterator[Column]:
    """The readings of some series; nothing else of the block is decoded. CodecError if it is damaged."""
    form, body = _form(block)
    if form == PLAIN:
        yield from _plain_columns(body, wanted)
        return
    for series, count, _, _, event_times, raws in _decode_groups(body):
        places = [(place, number) for place, number in enumerate(series) if number in wanted]
        if not places:
            continue
        times = _numbers(event_times, count)
        for place, number in places:
            try:
                yield _decode_column(number, times, raws[place], count)
            except (msgspec.MsgspecError, UnicodeDecodeError, IndexError, TypeError) as error:
                raise CodecError(f"a damaged block of columns: {error}") from None


def _plain_columns(body: memoryview, wanted: Collection[int]) -> Iterator[Column]:
    _, _, shapes, records = _decode_plain(body)
    places = [[(place, one) for place, one in enumerate(shape) if one in wanted] for shape in shapes]
    found: dict[int, tuple[list[int], list[Value]]] = {}
    try:
        for shape, _, time, values in records:
            for place, number in places[shape]:
                times, readings = found.setdefault(number, ([], []))
                times.append(time)
                readings.append(values[place])
    except IndexError:
        raise CodecError("a damaged plain block: a record of no shape") from None
    for number, (times, readings) in found.items():
        yield Column(number, times, _keys(readings), readings.__getitem__)


def _form(block: bytes) -> tuple[int, memoryview]:
    if not block or block[0] not in (PLAIN, COLUMNS):
        found = block[0] if block else "nothing"
        raise CodecError(f"a block begins with its form, 1 or 2, not {found}")
    return block[0], memoryview(block)[1:]
