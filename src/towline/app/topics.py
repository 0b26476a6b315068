# SPDX-License-Identifier: Apache-2.0
"""The store of a node's durable topics: a SQLite file in the data directory, or JetStream when there is a bus."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from towline.app.plan import prepare_data
from towline.app.settings import Settings
from towline.app.waiting import until_unlocked
from towline.bus.settings import BusSettings, Timing
from towline.clock import Clock
from towline.errors import StartError
from towline.gateway.durable import declared
from towline.gateway.queuesettings import QueueSettings
from towline.store.base.topics import TopicSpec, TopicStore

if TYPE_CHECKING:
    from towline.store.jetstream import JetStreamTopics

FILE = "topics.db"
MONITOR_S = 5.0

logger = logging.getLogger("towline.app")


async def make_topics(stack: contextlib.AsyncExitStack, settings: Settings, clock: Clock) -> TopicStore | None:
    """None when no topic is durable."""
    queue = settings.gateway.queue
    specs, _ = declared(queue)
    if not specs:
        return None
    if settings.bus.url:
        await check_servers(queue)
        return await join_jetstream(stack, settings.bus, specs, queue.replicas, clock)
    from towline.store.sqlite.topics import open_topics

    data = prepare_data(Path(settings.data))
    topics = await until_unlocked(clock, lambda: open_topics(data / FILE, clock, specs))
    stack.push_async_callback(topics.close)
    return topics


async def join_jetstream(
    stack: contextlib.AsyncExitStack,
    bus: BusSettings,
    specs: Sequence[TopicSpec],
    replicas: int,
    clock: Clock,
    timing: Timing = Timing(),  # noqa: B008  (frozen)
) -> JetStreamTopics:
    """Topics on a connection of their own, so that a backlog does not hold up the mesh."""
    from towline.bus.nats_link import NatsLink
    from towline.store.jetstream import JetStreamTopics

    topics = JetStreamTopics(specs, clock, realm=bus.realm, replicas=replicas)

    def up() -> None:
        assert link.client is not None
        topics.up(link.client)

    def failed(error: Exception) -> None:
        logger.info("NATS: %s", error or type(error).__name__)

    link = NatsLink(bus, timing, topics.connected, up, topics.down, failed)
    await link.start()
    stack.push_async_callback(link.close)
    stack.push_async_callback(topics.close)
    await topics.start()
    return topics


async def check_servers(queue: QueueSettings) -> None:
    """Whether a confirmed message survives a power failure. StartError ``topics.not_synced``, ``topics.monitor``."""
    if not queue.nats_monitor:
        logger.warning(
            "durable topics: whether NATS syncs what it confirms cannot be known here; "
            "set jetstream.sync_interval: always there and gateway.queue.nats_monitor here"
        )
        return
    import httpx

    from towline.store.jetstream.setup import check_sync

    async with httpx.AsyncClient(timeout=MONITOR_S, trust_env=False) as client:
        for url in queue.nats_monitor:
            try:
                answer = await client.get(url.rstrip("/") + "/varz")
                answer.raise_for_status()
                varz = answer.json()
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                raise StartError(
                    "topics.monitor",
                    f"the NATS server's monitoring page cannot be read: {error}",
                    where=f"gateway.queue.nats_monitor: {url}",
                    hint="start nats-server with -m 8222, or leave the setting out",
                ) from None
            check_sync(varz, url)
