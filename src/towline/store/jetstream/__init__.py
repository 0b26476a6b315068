# SPDX-License-Identifier: Apache-2.0
"""Durable topics of many nodes, kept by NATS JetStream: a stream for each topic, and one consumer that all nodes share.

A push or an ack is done when the server has confirmed it. How far that outlives a power failure is the server's setting
``jetstream.sync_interval``; its default of two minutes loses what it confirmed (docs/guides/gateway.md).
"""

from __future__ import annotations

from towline.store.jetstream.topics import JetStreamTopics

__all__ = ["JetStreamTopics"]
