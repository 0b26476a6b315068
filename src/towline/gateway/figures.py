# SPDX-License-Identifier: Apache-2.0
"""What a node shows in ``/metrics``, taken on the loop at one moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from towline.gateway import metrics

if TYPE_CHECKING:
    from towline.gateway.durable import DurableTopics
    from towline.gateway.listener import ClientPort
    from towline.gateway.node import Node
    from towline.gateway.queues import Queues


def figures(node: Node) -> list[metrics.Value | metrics.SummaryValue]:
    """What ``/metrics`` shows, taken at one moment."""
    value = metrics.Value
    unreachable = node.mesh.counters.unreachable + node.queue_mesh.unreachable
    outbox, mesh, http = node.outbox.counters, node.mesh.counters, node.server.counters
    found: list[metrics.Value | metrics.SummaryValue] = [
        value("connmix_engine_servers_clients", "Connected clients", len(node.realm.connections)),
        *_by_protocol("connmix_engine_servers_read_messages_total", "Messages from clients", _read(node.ports)),
        *_by_protocol(
            "connmix_engine_servers_send_messages_total",
            "Messages for clients",
            {"websocket": outbox.frames, "socket": outbox.frames_raw},
        ),
        *_by_protocol(
            "connmix_engine_servers_send_errors_total",
            "Messages refused",
            {"websocket": outbox.refused, "socket": outbox.refused_raw},
        ),
        *_durations(node),
        value("towline_gateway_channels", "Channels with a subscriber", len(node.channels)),
        value("towline_gateway_behind", "Clients whose socket does not take all", len(node.outbox.behind)),
        value("towline_gateway_slow_total", "Clients disconnected as too slow", outbox.slow),
        value("towline_gateway_stalled_total", "Clients disconnected as their socket took nothing", outbox.stalled),
        value("towline_gateway_mesh_publishes_total", "Publishes that began here", mesh.publishes),
        value("towline_gateway_mesh_sends_total", "Sends that began here", mesh.sends),
        value(
            "towline_gateway_mesh_silent_total", "Answers of other nodes that did not come", node.mesh.answers.silent
        ),
        value(
            "towline_gateway_mesh_unreachable_total",
            "Messages the bus did not take",
            unreachable,
        ),
        value("towline_gateway_mesh_format_errors_total", "Bus messages not understood", mesh.format_errors),
        value("towline_gateway_api_connections", "Connections to the push API", len(node.server.protocols)),
        value("towline_gateway_api_requests_total", "Requests by HTTP", http.requests),
        value("towline_gateway_api_sockets", "Sockets on /ws/v1", len(node.sockets.sockets)),
        value("towline_gateway_api_messages_total", "Requests by WebSocket", node.sockets.requests),
        value("towline_gateway_links", "Links of agents", len(node.links)),
        value("towline_gateway_loop_lag_seconds", "Worst delay of the event loop in a minute", node.loop_lag.worst),
    ]
    dropped = {"newest": outbox.dropped_newest, "oldest": outbox.dropped_oldest, "abandoned": outbox.abandoned}
    for reason, count in dropped.items():
        found.append(
            value("towline_gateway_dropped_total", "Frames dropped of slow clients", count, {"reason": reason})
        )
    for reason, count in http.refused.items():
        found.append(value("towline_gateway_api_refused_total", "Refused by the push API", count, {"reason": reason}))
    for code, count in node.sockets.errors.items():
        found.append(value("towline_gateway_api_errors_total", "Errors in the envelope", count, {"code": str(code)}))
    for status, count in http.answers.items():
        found.append(
            value(
                "towline_gateway_api_answers_total",
                "HTTP answers of 400 and more",
                count,
                {"status": str(status)},
            )
        )
    for cause, count in node.sockets.closed.items():
        found.append(
            value("towline_gateway_api_sockets_closed_total", "Sockets gone, by cause", count, {"cause": cause})
        )
    for number, port in enumerate(node.ports):
        label = {"listener": str(number)}
        counters = port.counters
        found.append(value("towline_gateway_accepted_total", "Clients accepted", counters.accepted, label))
        found.append(
            value("towline_gateway_entry_errors_total", "Errors raised by entries", counters.entry_errors, label)
        )
        found.append(value("towline_gateway_held_total", "Messages held back by the rate", counters.held, label))
        for what, count in counters.pings.items():
            found.append(value("towline_gateway_pings_total", "WebSocket pings", count, {**label, "what": what}))
        events: dict[str, int] = getattr(port.handler, "events", {})
        for event, count in events.items():
            found.append(
                value("towline_gateway_script_events_total", "Loads of scripts", count, {**label, "event": event})
            )
        for reason, count in counters.refused.items():
            found.append(value("towline_gateway_refused_total", "Upgrades refused", count, {**label, "reason": reason}))
        for cause, count in counters.closed.items():
            found.append(
                value("towline_gateway_closed_total", "Clients gone, by cause", count, {**label, "cause": cause})
            )
    found.extend(_queues(node.queues, node.queue_mesh.late))
    if node.queues.durable is not None:
        found.extend(_durable(node.queues.durable))
    found.extend(node.links.figures())
    for name, count in node.bus_counters().items():
        found.append(value("towline_bus_events_total", "What the bus counts", count, {"event": name}))
    return found


def _by_protocol(name: str, text: str, counts: Mapping[str, float]) -> list[metrics.Value]:
    """One figure for each protocol, whether there is a port that speaks it or not (spec connmix §6)."""
    return [metrics.Value(name, text, count, {"protocol": protocol}) for protocol, count in counts.items()]


def _read(ports: list[ClientPort]) -> dict[str, float]:
    counts = {"websocket": 0, "socket": 0}
    for port in ports:
        counts[port.settings.protocol] += port.counters.messages
    return {**counts}


def _durations(node: Node) -> Iterator[metrics.SummaryValue]:
    for protocol, scenario, quantiles in node.mesh.durations.shown():
        yield metrics.SummaryValue(
            "connmix_engine_servers_send_duration_seconds",
            "Time until a message is written, or until its node answered",
            quantiles,
            {"protocol": protocol, "scenario": scenario},
        )


def _queues(queues: Queues, late: int) -> list[metrics.Value]:
    value, counters = metrics.Value, queues.counters
    found = [
        value("towline_gateway_queue_topics", "Topics with a message or a consumer", len(queues.topics)),
        value("towline_gateway_queue_waiting", "Messages that wait in topics", queues.waiting),
        value("towline_gateway_queue_bytes", "What they take", queues.bytes),
        value("towline_gateway_queue_consumers", "Sockets that consume topics", queues.consumers),
        value("towline_gateway_queue_pushed_total", "Messages that entries queued", counters.pushed),
        value("towline_gateway_queue_delivered_total", "Messages given to consumers here", counters.delivered),
        value("towline_gateway_queue_taken_total", "Of those: what waited on another node", counters.taken),
        value("towline_gateway_queue_handed_total", "Messages that another node took", counters.handed),
        value("towline_gateway_queue_returned_total", "Messages another node could not take", counters.returned),
        value("towline_gateway_queue_lost_total", "Messages lost with a node that did not answer", counters.lost),
        value("towline_gateway_queue_late_total", "Answers of other nodes that came too late", late),
        value("towline_gateway_queue_discarded_total", "Messages left when the node stopped", counters.discarded),
    ]
    for reason, count in counters.refused.items():
        found.append(
            value("towline_gateway_queue_refused_total", "Pushes and consumers refused", count, {"reason": reason})
        )
    return found


def _durable(durable: DurableTopics) -> list[metrics.Value]:
    value, counters = metrics.Value, durable.counters
    found = [
        value("towline_gateway_topic_pending", "Pushes on their way to the store", durable.pending),
        value("towline_gateway_topic_pushed_total", "Messages stored in durable topics", counters.pushed),
        value("towline_gateway_topic_delivered_total", "Messages of them given to consumers", counters.delivered),
        value("towline_gateway_topic_redelivered_total", "Of those: not for the first time", counters.redelivered),
        value("towline_gateway_topic_acked_total", "Messages acked", counters.acked),
        value("towline_gateway_topic_nacked_total", "Messages nacked", counters.nacked),
        value("towline_gateway_topic_expired_total", "Messages not acked in time", counters.expired),
        value("towline_gateway_topic_lost_total", "Messages whose consumer left without an ack", counters.lost),
        value("towline_gateway_topic_undead_total", "Dead letters that their topic did not take", counters.undead),
    ]
    # The names are those of the settings.
    for name, messages, size, unacked in durable.figures():
        label = {"topic": name}
        found += [
            value("towline_gateway_topic_messages", "Messages that a durable topic holds", messages, label),
            value("towline_gateway_topic_bytes", "What they take", size, label),
            value("towline_gateway_topic_unacked", "Of them: with consumers of this node", unacked, label),
        ]
    for reason, count in counters.dead.items():
        found.append(
            value("towline_gateway_topic_dead_total", "Moved to a dead-letter topic", count, {"reason": reason})
        )
    for reason, count in counters.refused.items():
        found.append(
            value("towline_gateway_topic_refused_total", "Pushes and acks that failed", count, {"reason": reason})
        )
    for event, count in durable.store_counters().items():
        found.append(value("towline_gateway_topic_store_total", "What the store counts", count, {"event": event}))
    return found


class LoopLag:
    """How late the loop runs a timer: the worst of the last minute, in seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._recent = [0.0] * 60
        self._at = 0
        self._due = loop.time() + 1
        self._timer = loop.call_at(self._due, self._tick)

    @property
    def worst(self) -> float:
        return max(self._recent)

    def _tick(self) -> None:
        now = self._loop.time()
        self._recent[self._at] = max(0.0, now - self._due)
        self._at = (self._at + 1) % len(self._recent)
        self._due = now + 1
        self._timer = self._loop.call_at(self._due, self._tick)

    def stop(self) -> None:
        self._timer.cancel()
