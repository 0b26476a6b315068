# SPDX-License-Identifier: Apache-2.0
"""Agents' links: WebSockets on ``/link/v1``, relayed frame by frame to a hub.

Link connections live in a table of their own; entries, channels and the push API cannot see them. The node answers
heartbeats itself, watches silence, size and rate, keeps a bounded outbox of strict priority for each agent, and otherwise
reads nothing of a frame but its type. Each link belongs to one hub, chosen by rendezvous hashing, until that hub leaves.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial

from picows import WSListener, WSUpgradeRequest

from towline.bus.base import Endpoint
from towline.clock import Clock
from towline.errors import TowlineError, Unavailable
from towline.gateway import metrics
from towline.gateway.closecodes import (
    NO_HUB,
    NO_NUMBER,
    CloseCode,
)
from towline.gateway.linksocket import LinkListener
from towline.gateway.snowflake import Snowflakes
from towline.protocols.link import relay
from towline.protocols.link.frames import Priority
from towline.protocols.link.messages import Resync
from towline.protocols.link.messages import encode as encode_body

log = logging.getLogger("towline.gateway.link")

TICK_S = 0.5
_PRIORITIES = tuple(Priority)


class LinkCounters:
    """What links did since the node started."""

    __slots__ = (
        "accepted",
        "closed",
        "dropped_no_hub",
        "frames_in",
        "frames_out",
        "opened",
        "rehomed",
        "throttled",
        "unknown",
    )

    def __init__(self) -> None:
        self.opened = 0
        self.accepted = 0
        self.frames_in = 0
        self.frames_out = 0
        self.dropped_no_hub = 0
        """frames from agents that no hub was there to take; the agent sends them again"""
        self.rehomed = 0
        """links given to another hub because theirs left"""
        self.throttled = 0
        self.unknown = 0
        """relay messages not understood, or for a link that is gone"""
        self.closed: Counter[str] = Counter()


class LinkEntry:
    """All links of a node."""

    def __init__(self, ids: Snowflakes, clock: Clock) -> None:
        self._ids = ids
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._endpoint: Endpoint | None = None
        self._hubs: list[str] = []
        self.now = self._loop.time()
        self.links: dict[str, LinkListener] = {}
        self.counters = LinkCounters()
        self._dirty: list[LinkListener] = []
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def __len__(self) -> int:
        return len(self.links)

    # -- the node's side

    def attach(self, endpoint: Endpoint) -> None:
        """The node is on the bus."""
        self._endpoint = endpoint
        self.hubs_changed()

    def accept(self, request: WSUpgradeRequest) -> WSListener:
        """The route ``/link/v1``."""
        return LinkListener(self)

    def closers(self, code: CloseCode) -> list[Callable[[], None]]:
        """What closes each link, for the node to call at the pace it likes."""
        return [partial(link.end, code, "node_draining") for link in list(self.links.values())]

    def close(self) -> None:
        """Cut what is left and stop."""
        self._timer.cancel()
        for link in list(self.links.values()):
            link.abort()
        self._endpoint = None

    def figures(self) -> list[metrics.Value]:
        """For ``/metrics``."""
        counters = self.counters
        value = metrics.Value
        found = [
            value("towline_gateway_links_opened_total", "Links opened", counters.opened),
            value("towline_gateway_links_accepted_total", "Links signed in", counters.accepted),
            value("towline_gateway_link_frames_in_total", "Frames from agents", counters.frames_in),
            value("towline_gateway_link_frames_out_total", "Frames for agents", counters.frames_out),
            value("towline_gateway_link_dropped_total", "Frames that no hub could take", counters.dropped_no_hub),
            value("towline_gateway_links_rehomed_total", "Links given to another hub", counters.rehomed),
            value("towline_gateway_link_throttled_total", "Pauses of agents that sent too much", counters.throttled),
            value("towline_gateway_link_unknown_total", "Relay messages without use", counters.unknown),
        ]
        found += [
            value("towline_gateway_links_closed_total", "Links gone, by cause", count, {"cause": cause})
            for cause, count in counters.closed.items()
        ]
        return found

    # -- hubs

    def hubs_changed(self) -> None:
        """A hub came or went: links of one that is gone get another."""
        if self._endpoint is None:
            return
        self._hubs = [member.address for member in self._endpoint.members("hub")]
        living = set(self._hubs)
        for link in list(self.links.values()):
            if link.hub not in living:
                self._rehome(link)

    def pick(self, conn: str) -> str | None:
        """The hub for a connection: the highest of the living by a hash of both names."""
        return max(self._hubs, key=partial(_weight, conn), default=None)

    def _rehome(self, link: LinkListener) -> None:
        hub = self.pick(link.conn)
        if not link.signed_in:
            # Half a handshake is of no use to another hub.
            link.end(NO_HUB, "hub_unavailable")
            return
        if hub is None:
            return
        link.hub = hub
        self.counters.rehomed += 1
        self.tell(hub, relay.Roster([link.entry()], handed=True))
        link.put(Priority.CONTROL, encode_body(Resync(reason="hub_changed")))

    def tell(self, hub: str, message: relay.NodeMessage) -> bool:
        """Send a relay message to a hub."""
        return self._endpoint is not None and self._endpoint.send(hub, relay.encode_relay(message))

    def on_message(self, sender: str, payload: bytes) -> None:
        """A relay message from a hub."""
        try:
            message = relay.decode_relay(payload)
        except TowlineError:
            self.counters.unknown += 1
            return
        if isinstance(message, relay.RosterAsk):
            self._roster(sender)
            return
        if not isinstance(message, (relay.Out, relay.Accept, relay.Close)):
            self.counters.unknown += 1
            return
        link = self.links.get(message.conn)
        if link is None:
            self.counters.unknown += 1
        elif isinstance(message, relay.Out):
            self.counters.frames_out += 1
            link.put(_priority(message.cls), message.data)
        elif isinstance(message, relay.Accept):
            self.counters.accepted += 1
            link.accept(message, self._clock.now_us())
        else:
            link.finish(message.code, message.reason, message.cause)

    def _roster(self, hub: str) -> None:
        """Which signed-in links of this node the asking hub serves."""
        entries = [link.entry() for link in self.links.values() if link.signed_in and link.hub == hub]
        parts = [entries[at : at + relay.ROSTER_PART] for at in range(0, len(entries), relay.ROSTER_PART)] or [[]]
        for number, part in enumerate(parts):
            self.tell(hub, relay.Roster(part, number, number == len(parts) - 1))

    # -- connections

    def opened(self, link: LinkListener, path: str) -> None:
        """An agent's socket is open: find it an id and a hub."""
        self.counters.opened += 1
        try:
            link.conn = self._ids.next()
        except Unavailable:
            link.refuse("node_not_ready", "this gateway node is not ready", NO_NUMBER)
            return
        hub = self.pick(link.conn)
        if hub is None or not self.tell(hub, relay.Opened(link.conn, link.remote, path)):
            link.refuse("hub_unavailable", "no hub is there at present", NO_HUB)
            return
        link.hub = hub
        self.links[link.conn] = link

    def frame(self, link: LinkListener, data: bytes) -> None:
        """A frame from an agent, for its hub."""
        self.counters.frames_in += 1
        if not self.tell(link.hub, relay.Frame(link.conn, data)):
            self.counters.dropped_no_hub += 1

    def gone(self, link: LinkListener, cause: str, detail: str) -> None:
        """An agent's socket is closed."""
        self.counters.closed[cause] += 1
        if self.links.pop(link.conn, None) is not None:
            self.tell(link.hub, relay.Closed(link.conn, cause, detail))

    def flush_soon(self, link: LinkListener) -> None:
        """Write what the link has queued, after this turn of the loop."""
        if not self._dirty:
            self._loop.call_soon(self._flush)
        self._dirty.append(link)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for link in dirty:
            link.flush()

    def _tick(self) -> None:
        self.now = now = self._loop.time()
        self._timer = self._loop.call_later(TICK_S, self._tick)
        for link in list(self.links.values()):
            link.check_time(now)


def _priority(number: int) -> Priority:
    return _PRIORITIES[number] if 0 <= number < len(_PRIORITIES) else Priority.BULK


def _weight(conn: str, hub: str) -> bytes:
    return hashlib.blake2b(f"{conn}\0{hub}".encode(), digest_size=8).digest()
