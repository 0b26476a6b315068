# SPDX-License-Identifier: Apache-2.0
"""What JetStream must have for a durable topic: made, brought up to date and checked at start."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)
from nats.js.client import JetStreamContext

from towline.errors import StartError, Unavailable
from towline.store.base.topics import ACK_SLACK_S, TopicSpec
from towline.store.jetstream.confirmed import FAILURES

T = TypeVar("T")
log = logging.getLogger("towline.store")

CONSUMER: Final = "back-ends"
"""The one consumer of a stream; every node pulls from it."""

REMEMBER_S: Final = 120.0
"""How long the server knows a push again that is sent twice."""

REQUEST_S: Final = 5.0
ATTEMPTS: Final = 5

_NO_REPLICAS: Final = {10074, 10005}
"""Error codes: replicas without a cluster; not enough servers."""


async def prepare_topic(client: Client, spec: TopicSpec, stream: str, subject: str, replicas: int) -> tuple[int, int]:
    """Make or update stream and consumer; messages and bytes that the stream holds.

    StartError ``topics.no_jetstream``, ``topics.replicas``, ``topics.stream``; Unavailable ``topics.unreachable``.
    """
    js = client.jetstream(timeout=REQUEST_S)
    wanted = StreamConfig(
        name=stream,
        description=f"Towline's durable topic {spec.name}",
        subjects=[subject],
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_msgs=spec.max_messages,
        max_bytes=spec.max_bytes,
        num_replicas=replicas,
        duplicate_window=REMEMBER_S,
    )
    consumer = ConsumerConfig(
        durable_name=CONSUMER,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=spec.ack_s + ACK_SLACK_S,
        max_deliver=-1,
        max_ack_pending=-1,
    )
    try:
        info = await _again(lambda: _stream(js, wanted))
        await _again(lambda: js.add_consumer(stream, consumer))
    except nats.js.errors.APIError as error:
        if error.err_code in _NO_REPLICAS or "replicas" in str(error.description):
            raise StartError(
                "topics.replicas",
                f"the NATS server cannot keep {replicas} copies of the topic {spec.name!r}: {error.description}",
                where="gateway.queue.replicas",
                hint="as many servers with JetStream are needed in one cluster",
            ) from None
        if isinstance(error, nats.js.errors.ServiceUnavailableError):
            raise no_jetstream() from None
        raise StartError(
            "topics.stream",
            f"JetStream does not take the topic {spec.name!r}: {error.description}",
            where=f"stream {stream}",
        ) from None
    except nats.errors.NoRespondersError:
        raise no_jetstream() from None
    except FAILURES as error:
        raise Unavailable("topics.unreachable", f"JetStream does not answer: {error!r}") from None
    if info.config.num_replicas == 1 and info.cluster is not None and info.cluster.name:
        log.warning(
            "a durable topic has one copy only although NATS is a cluster; gateway.queue.replicas: 3 survives a server",
            extra={"topic": spec.name},
        )
    return info.state.messages, info.state.bytes


async def _stream(js: JetStreamContext, wanted: StreamConfig) -> StreamInfo:
    try:
        found = await js.stream_info(str(wanted.name))
    except nats.js.errors.NotFoundError:
        return await js.add_stream(wanted)
    now = found.config
    if any(getattr(now, name) != getattr(wanted, name) for name in ("max_msgs", "max_bytes", "num_replicas")):
        log.info("a durable topic's limits change", extra={"stream": wanted.name})
        return await js.update_stream(wanted)
    return found


async def _again(request: Callable[[], Awaitable[T]]) -> T:
    """A cluster that elects a leader needs a moment."""
    for attempt in range(ATTEMPTS):
        try:
            return await request()
        except (TimeoutError, nats.js.errors.ServiceUnavailableError, nats.errors.TimeoutError):
            if attempt == ATTEMPTS - 1:
                raise
            await asyncio.sleep(0.5)
    raise AssertionError


def no_jetstream() -> StartError:
    """What is said of a server without it."""
    return StartError(
        "topics.no_jetstream",
        "the NATS server has no JetStream, which keeps durable topics",
        where="bus.url",
        hint="start nats-server with -js, and allow JetStream for this account",
    )


def check_sync(varz: Any, url: str) -> None:
    """What a server's monitoring page ``/varz`` says of how it keeps what it confirmed. StartError ``topics.not_synced``."""
    config = (varz.get("jetstream") or {}).get("config") if isinstance(varz, dict) else None
    if not isinstance(config, dict):
        raise StartError("topics.monitor", "this is no /varz of a NATS server with JetStream", where=url)
    if not config.get("sync_always"):
        seconds = config.get("sync_interval", 0) / 1_000_000_000
        raise StartError(
            "topics.not_synced",
            f"the NATS server writes to disk every {seconds:g} s only: a power failure loses what it had confirmed",
            where=url,
            hint="set `jetstream { sync_interval: always }` in its configuration, or leave gateway.queue.nats_monitor out",
        )
