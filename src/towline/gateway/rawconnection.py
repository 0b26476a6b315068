# SPDX-License-Identifier: Apache-2.0
"""A client of a raw TCP port, as entries see it: a :class:`Connection` whose messages are bytes, without frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from towline.gateway.connections import Connection, Kind, Realm
from towline.gateway.entries.base import Handshake


class RawPeer(Protocol):
    """The socket's side of a connection."""

    def encode(self, data: bytes) -> bytes | None:
        """Data that was sent or published to this client, by its entry's protocol; None when that cannot be done."""
        ...

    def clear_buffer(self) -> None:
        """Forget what was received and not taken."""
        ...


class _NoRequest:
    """Stands for the upgrade request that a raw TCP client does not make."""

    method = path = version = b""
    headers: Mapping[str, str] = {}


class RawConnection(Connection):
    """One client of a raw TCP port. There is no request: of ``handshake``, only ``remote_addr`` says something."""

    __slots__ = ("_peer",)
    raw = True

    def __init__(
        self,
        id: str,
        realm: Realm,
        remote_addr: str,
        write: Callable[[bytes], None],
        queued: Callable[[], int],
        disconnect: Callable[[int, str], None],
        peer: RawPeer,
        listener: int = 0,
    ) -> None:
        super().__init__(id, realm, Handshake(_NoRequest(), remote_addr), write, queued, disconnect, listener)
        self._peer = peer

    def send(self, data: str | bytes, kind: Kind | None = None) -> bool:
        """Queue bytes for this client, as they are: they do not go through ``protocol_encode``. ``str`` is sent as UTF-8,
        ``kind`` means nothing here.

        False when they were refused: the connection is closing, or too far behind (it is then closed).
        """
        return self._realm.outbox.send(self, data.encode() if isinstance(data, str) else data)

    def clear_buffer(self) -> None:
        """Forget what was received and not yet taken as a packet."""
        self._peer.clear_buffer()

    def deliver(self, data: bytes, binary: bool) -> bool:
        """Queue what was sent or published to this client, by its entry's protocol. False when it was refused or could not
        be encoded (spec connmix §4.3)."""
        encoded = self._peer.encode(data)
        if encoded is not None:
            return self._realm.outbox.send(self, encoded)
        self._realm.outbox.counters.refused_raw += 1
        return False
