# SPDX-License-Identifier: Apache-2.0
"""PHP's ``pack`` and ``unpack`` (spec connmix §4.1): codes ``aAhHcCsSnviIlLNVqQJPfgGdeExXZ@``, counts and ``*``.

Texts are bytes. Machine-dependent codes are little-endian, ``i I`` 4 bytes, as on the machines this runs on. Every
problem is a ValueError with a sentence.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any

MAX_BYTES = 16 * 1024 * 1024

_NUMBERS = {
    "c": "<b", "C": "<B", "s": "<h", "S": "<H", "n": ">H", "v": "<H", "i": "<i", "I": "<I", "l": "<i", "L": "<I",
    "N": ">I", "V": "<I", "q": "<q", "Q": "<Q", "J": ">Q", "P": "<Q",
}  # fmt: skip
_SIGNED = {"Q": "<q", "J": ">q", "P": "<q"}
"""Read as PHP's integers are: signed, of 64 bits."""

_FLOATS = {"f": "<f", "g": "<f", "G": ">f", "d": "<d", "e": "<d", "E": ">d"}
_TEXTS = "aAZhH"
_MOVES = "xX@"

_CODE = re.compile(r"([a-zA-Z@])(\*|\d+)?", re.ASCII)
_FIELD = re.compile(r"([a-zA-Z@])(\*|\d+)?(.*)", re.ASCII | re.DOTALL)


def _codes(form: str) -> Iterator[tuple[str, int | None]]:
    """Each code with its count: None for ``*``, −1 where there is none."""
    at = 0
    while at < len(form):
        found = _CODE.match(form, at)
        if found is None:
            raise ValueError(f"pack: {form[at]!r} is no format code")
        at = found.end()
        yield found[1], _count(found[2])


def _count(text: str | None) -> int | None:
    if text is None:
        return -1
    if text == "*":
        return None
    if len(text) > 9:
        raise ValueError(f"pack: a count of {text[:20]} is too large")
    return int(text)


def pack(form: bytes, values: Sequence[Any]) -> bytes:
    """``pack(format, values…)``; numbers wrap around as in PHP."""
    out = bytearray()
    rest = list(reversed(values))
    for code, count in _codes(form.decode("latin-1")):
        if code in _MOVES:
            _move(out, code, count)
        elif code in _TEXTS:
            if not rest:
                raise ValueError(f"pack: type {code}: not enough arguments")
            out += _pack_text(code, count, _as_bytes(rest.pop()))
        elif code in _NUMBERS or code in _FLOATS:
            times = len(rest) if count is None else (1 if count == -1 else count)
            if times > len(rest):
                raise ValueError(f"pack: type {code}: too few arguments")
            for _ in range(times):
                out += _pack_number(code, rest.pop())
        else:
            raise ValueError(f"pack: type {code}: unknown format code")
        if len(out) > MAX_BYTES:
            raise ValueError(f"pack: the result is longer than {MAX_BYTES} bytes")
    return bytes(out)  # PHP warns of arguments that nothing used, and goes on


def _move(out: bytearray, code: str, count: int | None) -> None:
    number = 1 if count in (-1, None) else count or 0
    if number > MAX_BYTES:
        raise ValueError(f"pack: type {code}: a count above {MAX_BYTES}")
    if code == "x":
        out += bytes(number)
    elif code == "X":
        if number > len(out):
            raise ValueError("pack: type X: outside of string")
        del out[len(out) - number :]
    elif number > len(out):
        out += bytes(number - len(out))
    else:
        del out[number:]


def _pack_text(code: str, count: int | None, text: bytes) -> bytes:
    if count is not None and count > MAX_BYTES:
        raise ValueError(f"pack: type {code}: a count above {MAX_BYTES}")
    if code in "hH":
        return _pack_hex(code, count, text)
    if count is None:
        return text + b"\0" if code == "Z" else text
    size = 1 if count == -1 else count
    if code == "Z":
        return text[: max(0, size - 1)].ljust(size, b"\0")
    return text[:size].ljust(size, b" " if code == "A" else b"\0")


def _pack_hex(code: str, count: int | None, text: bytes) -> bytes:
    digits = len(text) if count is None else (1 if count == -1 else count)
    if digits > len(text):
        raise ValueError(f"pack: type {code}: not enough characters in string")
    out = bytearray((digits + 1) // 2)
    for at, digit in enumerate(text[:digits]):
        try:
            value = int(chr(digit), 16)
        except ValueError:
            raise ValueError(f"pack: type {code}: illegal hex digit {chr(digit)!r}") from None
        high = (at % 2 == 0) == (code == "H")
        out[at // 2] |= value << 4 if high else value
    return bytes(out)


def _pack_number(code: str, value: Any) -> bytes:
    if code in _FLOATS:
        number = _as_float(value)
        try:
            return struct.pack(_FLOATS[code], number)
        except OverflowError:
            return struct.pack(_FLOATS[code], float("inf") if number > 0 else float("-inf"))
    form = _NUMBERS[code]
    size = struct.calcsize(form)
    return (_as_int(value) % (1 << 8 * size)).to_bytes(size, "big" if form[0] == ">" else "little")


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return b"1" if value else b""
    if isinstance(value, (int, float)):
        return f"{value:.14g}".encode() if isinstance(value, float) else str(value).encode()
    if value is None:
        return b""
    raise ValueError("pack: an argument is neither text nor number")


def _as_float(value: Any) -> float:
    if isinstance(value, (bool, int, float)):
        return float(value)
    found = re.match(rb"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", _as_bytes(value))
    return float(found[0]) if found else 0.0


def _as_int(value: Any) -> int:
    number = value if isinstance(value, int) else _as_float(value)
    if isinstance(number, float) and (number != number or number in (float("inf"), float("-inf"))):
        return 0
    return int(number)


def unpack(form: bytes, data: bytes) -> dict[Any, Any]:
    """``unpack("Nlen/a*body", data)``: names to values; codes without a name count from 1."""
    found: dict[Any, Any] = {}
    at = 0
    for part in form.decode("latin-1").removesuffix("/").split("/") if form else ():
        match = _FIELD.fullmatch(part)
        if match is None:
            raise ValueError(f"unpack: {part[:40]!r} is no format code")
        code, count, name = match[1], _count(match[2]), match[3]
        if code in _MOVES:
            at = _step(code, count, at, len(data))
        elif code in _TEXTS:
            value, at = _unpack_text(code, count, data, at)
            found[_key(name) if name else 1] = value
        elif code in _NUMBERS or code in _FLOATS:
            at = _unpack_numbers(code, count, name, data, at, found)
        else:
            raise ValueError(f"unpack: type {code}: unknown format code")
    return found


def _key(name: str) -> Any:
    return int(name) if name.isdigit() and len(name) < 10 and str(int(name)) == name else name.encode("latin-1")


def _step(code: str, count: int | None, at: int, size: int) -> int:
    if code == "x":
        at += size - at if count is None else (1 if count == -1 else count)
    elif code == "X":
        at -= 1 if count in (-1, None) else count or 0
    else:
        at = 0 if count is None else (1 if count == -1 else count)
    if not 0 <= at <= size:
        raise ValueError(f"unpack: type {code}: outside of string")
    return at


def _unpack_text(code: str, count: int | None, data: bytes, at: int) -> tuple[bytes, int]:
    if code in "hH":
        digits = 2 * (len(data) - at) if count is None else (1 if count == -1 else count)
        size = (digits + 1) // 2
    else:
        size = len(data) - at if count is None else (1 if count == -1 else count)
    if at + size > len(data):
        raise ValueError(f"unpack: type {code}: not enough input, need {size} bytes, have {len(data) - at}")
    raw = data[at : at + size]
    if code in "hH":
        text = raw.hex()
        if code == "h":
            text = "".join(text[i + 1] + text[i] for i in range(0, len(text), 2))
        raw = text[:digits].encode()
    elif code == "A":
        raw = raw.rstrip(b" \t\r\n\0")
    elif code == "Z":
        raw = raw.partition(b"\0")[0]
    return raw, at + size


def _unpack_numbers(code: str, count: int | None, name: str, data: bytes, at: int, found: dict[Any, Any]) -> int:
    form = _SIGNED.get(code) or _NUMBERS.get(code) or _FLOATS[code]
    size = struct.calcsize(form)
    times = (len(data) - at) // size if count is None else (1 if count == -1 else count)
    if at + times * size > len(data):
        raise ValueError(f"unpack: type {code}: not enough input, need {size} bytes, have {(len(data) - at) % size}")
    for number in range(1, times + 1):
        (value,) = struct.unpack_from(form, data, at)
        at += size
        key = _key(name) if name and count in (-1, 1) else (f"{name}{number}".encode("latin-1") if name else number)
        found[key] = value
    return at
