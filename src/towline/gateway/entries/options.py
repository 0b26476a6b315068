# SPDX-License-Identifier: Apache-2.0
"""What a listener gives its script besides connections: limits, options, Redis, queues."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from towline.gateway.settings import RedisSettings


class QueuePush(Protocol):
    """Where ``mix.queue.push`` puts items: the queues of this node."""

    def push(self, topic: str, data: object, client_id: str = "") -> int:
        """The same outside a callback, where nothing can wait: refused for a durable topic."""
        ...

    def put(self, topic: str, data: object, client_id: str = "") -> int | Awaitable[int]:
        """Queue one item (:meth:`towline.gateway.queues.Queues.put`). ``data`` is ``msgspec.Raw`` for JSON as it stands, or a
        text; ``client_id`` is empty outside a callback.

        Gives the number of items now waiting, for a durable topic once the item is safe; a TowlineError says why the topic
        does not take it (it is full).
        """
        ...


@dataclass(frozen=True, slots=True)
class ScriptOptions:
    """Everything a Lua entry is told by the configuration."""

    trusted: bool = False
    reload_s: float = 10.0
    callback_ms: int = 100
    memory_bytes: int = 64 * 1024 * 1024
    options: Mapping[str, str] = field(default_factory=dict)
    """``mix.server.option(name)``"""
    redis: tuple[RedisSettings, ...] = ()
    queue: QueuePush | None = None
