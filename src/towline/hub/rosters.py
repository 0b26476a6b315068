# SPDX-License-Identifier: Apache-2.0
"""Rosters: what nodes say they hold, after a hub's start, when another hub left, and now and then as a check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from towline.hub import causes
from towline.hub.core import Core
from towline.hub.presence import Presence
from towline.hub.session import CLOSE_REPLACED, Session
from towline.protocols.link import relay

if TYPE_CHECKING:
    from towline.hub.links import Links


class _Asked:
    """A roster that was asked for: when, and who was in its parts so far."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.seen: set[str] = set()


class Rosters:
    """Asks nodes for their rosters and compares."""

    def __init__(self, core: Core, links: Links, presence: Presence) -> None:
        self._core = core
        self._links = links
        self._presence = presence
        self._asked: dict[str, _Asked] = {}

    def ask_all(self) -> None:
        """Ask every living node who is signed in there."""
        for member in self._core.endpoint.members("node"):
            self.ask(member.address)

    def ask(self, node: str) -> None:
        """Ask one node."""
        self._asked[node] = _Asked(self._core.clock.monotonic())
        self._links.to_node(node, relay.RosterAsk())

    def awaited(self, node: str) -> bool:
        """Whether a node has still to say which links it holds."""
        return node in self._asked

    def node_left(self, node: str) -> None:
        """No answer will come."""
        self._asked.pop(node, None)

    def on_roster(self, node: str, roster: relay.Roster) -> None:
        """Take an answer, or a link that a node hands to this hub because another one left."""
        fresh = [entry for entry in roster.entries if self._is_new(entry.conn)]
        self._adopt(node, fresh)
        told = [entry for entry in roster.entries if entry.conn in self._links.sessions]
        confirm = told if self._links.verifying else fresh
        if confirm:
            self._core.spawn(self._confirm(node, confirm, {entry.conn for entry in fresh}), "roster")
        asked = self._asked.get(node)
        if asked is None or roster.handed:
            return
        asked.seen.update(entry.conn for entry in roster.entries)
        if roster.last:
            del self._asked[node]
            self._drop_missing(node, asked)

    def _is_new(self, conn: str) -> bool:
        return conn not in self._links.sessions and not self._links.closed_lately(conn)

    def _adopt(self, node: str, entries: list[relay.RosterEntry]) -> None:
        for entry in entries:
            session = Session(entry.conn, node, "", None)
            session.workgroup, session.device_id = entry.workgroup, entry.device_id
            self._links.sessions[entry.conn] = session
            self._links.signed_in(session)
        self._core.counters["links.adopted"] += len(entries)

    async def _confirm(self, node: str, entries: list[relay.RosterEntry], fresh: set[str]) -> None:
        links = self._links
        answer = await self._presence.confirm(node, entries)
        for stale in answer.stale:
            session = links.sessions.get(stale.conn)
            if session is not None:
                links.close(session, CLOSE_REPLACED, "not the newest link of the device", causes.REPLACED)
        for current in answer.current:
            session = links.sessions.get(current.conn)
            if session is not None and session.state == "signed_in" and session.conn in fresh:
                await links.families.welcomed(session)

    def _drop_missing(self, node: str, asked: _Asked) -> None:
        """A node's Closed may have been lost on the way: what it no longer has is gone."""
        for session in list(self._links.sessions.values()):
            if (
                session.node == node
                and session.device_id
                and session.conn not in asked.seen
                and session.state != "handshake"
                and session.signed_in_at < asked.at
            ):
                self._core.counters["links.missed_close"] += 1
                self._links.on_closed(relay.Closed(session.conn, causes.LOST))
