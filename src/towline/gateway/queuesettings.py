# SPDX-License-Identifier: Apache-2.0
"""What can be set about topics. Times are seconds, sizes are bytes."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class TopicSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A topic that outlives its node."""

    name: Annotated[str, Meta(description="Name of the topic", min_length=1, max_length=200)]
    durable: Annotated[
        bool,
        Meta(description="Keep its messages on disk until they are acked; false: as if the topic were not listed here"),
    ] = True
    max_messages: Annotated[
        int, Meta(description="Messages that it may hold; a push to a full topic is an error", ge=1)
    ] = 1_000_000
    max_bytes: Annotated[
        int, Meta(description="What its messages may take together, 256 bytes a message added", ge=65536)
    ] = 1024 * 1024 * 1024
    ack: Annotated[
        Literal["client", "auto"],
        Meta(
            description="`client`: a message is gone once its consumer says `queue.ack`; `auto`: once it is written to "
            "its consumer, for consumers that know nothing of acks"
        ),
    ] = "client"
    ack_s: Annotated[
        float, Meta(description="A message that is not acked within this time is delivered again", ge=1, le=86400)
    ] = 30.0
    max_unacked: Annotated[
        int,
        Meta(description="Messages that one consumer may have without an ack; then it gets no more", ge=1, le=10_000),
    ] = 100
    max_deliveries: Annotated[
        int,
        Meta(
            description="So often a message is delivered; then it goes to `dead_letter`. 0: for ever", ge=0, le=10_000
        ),
    ] = 5
    dead_letter: Annotated[
        str,
        Meta(
            description="Durable topic for messages that nobody acked; empty: the name with `.dead` behind it. It need "
            "not be listed: then it has this topic's limits and delivers for ever",
            max_length=205,
        ),
    ] = ""


class QueueSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Topics in memory, and which are durable."""

    topic_size: Annotated[
        int, Meta(description="Messages that may wait in one topic; a push to a full topic is an error", ge=1)
    ] = 2000
    max_topics: Annotated[
        int, Meta(description="Topics of one node at once; one that is empty and has no consumer is dropped", ge=1)
    ] = 100
    max_bytes: Annotated[
        int, Meta(description="What may wait in all topics of one node together, 256 bytes a message added", ge=65536)
    ] = 256 * 1024 * 1024
    topics: Annotated[
        tuple[TopicSettings, ...],
        Meta(description="Topics that are durable; without `bus.url` in a SQLite file in `data`, with it in JetStream"),
    ] = ()
    replicas: Annotated[
        Literal[1, 3, 5],
        Meta(description="Copies of a durable topic in a NATS cluster; 3 survive the loss of a server"),
    ] = 1
    nats_monitor: Annotated[
        tuple[str, ...],
        Meta(
            description="Monitoring addresses of the NATS servers, as `http://host:8222`: the start is refused unless each "
            "says that it syncs always; empty: that cannot be known, and a warning says so"
        ),
    ] = ()
