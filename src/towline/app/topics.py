# SPDX-License-Identifier: Apache-2.0
"""The store of a node's durable topics: a SQLite file beside the others."""

from __future__ import annotations

import contextlib
from pathlib import Path

from towline.app.plan import prepare_data
from towline.app.settings import Settings
from towline.app.waiting import until_unlocked
from towline.clock import Clock
from towline.errors import StartError
from towline.gateway.durable import declared
from towline.store.base.topics import TopicStore

FILE = "topics.db"


async def make_topics(stack: contextlib.AsyncExitStack, settings: Settings, clock: Clock) -> TopicStore | None:
    """None when no topic is durable."""
    specs, _ = declared(settings.gateway.queue)
    if not specs:
        return None
    if settings.bus.url:
        raise StartError(
            "gateway.topics", "durable topics need a node of its own, without bus.url", where="gateway.queue.topics"
        )
    from towline.store.sqlite.topics import open_topics

    data = prepare_data(Path(settings.data))
    topics = await until_unlocked(clock, lambda: open_topics(data / FILE, clock, specs))
    stack.push_async_callback(topics.close)
    return topics
