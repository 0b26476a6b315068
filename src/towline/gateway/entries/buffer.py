# SPDX-License-Identifier: Apache-2.0
"""What ``protocol_input`` looks at: the bytes that a raw TCP client has sent and nobody has taken yet."""

from __future__ import annotations


class Buffer:
    """The received bytes of one connection at this moment. Reading takes nothing away from the connection.

    ``bytes(buffer)`` is all of it, ``len(buffer)`` how much there is. What comes in later is not seen by it.
    """

    __slots__ = ("_data", "_size", "position")

    def __init__(self, data: bytearray, size: int | None = None) -> None:
        self._data = data
        self._size = len(data) if size is None else size
        self.position = 0
        """Bytes that :meth:`read` has read so far."""

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return bytes(self._data[: self._size])

    def read(self, count: int) -> bytes | None:
        """The next ``count`` bytes, or None when fewer are left: then nothing is read."""
        end = self.position + count
        if count < 0 or end > self._size:
            return None
        found = bytes(self._data[self.position : end])
        self.position = end
        return found

    def slice(self, start: int, end: int) -> bytes:
        """Bytes from ``start`` up to ``end``, as far as there are any."""
        return bytes(self._data[max(0, start) : max(0, min(end, self._size))])

    def find(self, what: bytes, start: int = 0) -> int:
        """Where ``what`` begins, -1 when it is not there."""
        return self._data.find(what, start, self._size)
