# SPDX-License-Identifier: Apache-2.0
"""Who is told what: happenings become events, encoded once, for the connections that they concern."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from towline.api import models
from towline.api.socketio.viewer import Frame, Viewer, frame
from towline.clock import rfc3339
from towline.hub import events as happenings
from towline.hub.events import AnyHappening
from towline.hub.privileges import allows
from towline.hub.views import PresenceView
from towline.ids import cn
from towline.protocols.ardexa import events as ardexa

PRESENCE = "towline:presence"
DEVICE = "towline:device"
RECORDS = "towline:records"
STATES = "towline:states"
PLUGINS = "towline:plugins"
COMMAND = "towline:command"
ALERT = "towline:alert"


class Fanout:
    """Connections by workgroup, by watched device, and by device of a feed."""

    def __init__(self) -> None:
        self._workgroups: defaultdict[str, set[Viewer]] = defaultdict(set)
        self._watchers: defaultdict[str, set[Viewer]] = defaultdict(set)
        self._feeders: defaultdict[str, set[Viewer]] = defaultdict(set)

    def add(self, viewer: Viewer) -> None:
        """A connection signed in."""
        self._workgroups[viewer.actor.workgroup].add(viewer)

    def remove(self, viewer: Viewer) -> None:
        """A connection ended."""
        _discard(self._workgroups, viewer.actor.workgroup, viewer)
        for device_id in list(viewer.watched):
            self.unwatch(viewer, device_id)
        for feed_id in list(viewer.feeds):
            self.stop_feed(viewer, feed_id)

    def watch(self, viewer: Viewer, device_id: str) -> None:
        viewer.watched.add(device_id)
        self._watchers[device_id].add(viewer)

    def unwatch(self, viewer: Viewer, device_id: str) -> None:
        viewer.watched.discard(device_id)
        _discard(self._watchers, device_id, viewer)

    def watched(self, device_id: str) -> bool:
        """Whether any connection watches the device or has a feed of it."""
        return device_id in self._watchers or device_id in self._feeders

    def feeding(self, viewer: Viewer, device_id: str) -> None:
        """``viewer.feeds`` has a new feed of this device."""
        self._feeders[device_id].add(viewer)

    def stop_feed(self, viewer: Viewer, feed_id: str) -> bool:
        """False when the connection has no such feed."""
        feed = viewer.feeds.pop(feed_id, None)
        if feed is None:
            return False
        device_id = feed.request.device_id
        if not any(each.request.device_id == device_id for each in viewer.feeds.values()):
            _discard(self._feeders, device_id, viewer)
        return True

    def happened(self, happening: AnyHappening) -> None:
        """Send what ``happening`` means to whom it concerns."""
        match happening:
            case happenings.DevicePresence():
                self._presence(happening)
            case happenings.DeviceNew(device_id=device_id, workgroup=workgroup):
                self._all(workgroup, frame(ardexa.NEW, ardexa.device_new(device_id, cn(device_id, workgroup))))
                self._all(workgroup, frame(DEVICE, {"deviceId": device_id}))
            case happenings.DeviceChanged(device_id=device_id, workgroup=workgroup):
                self._all(workgroup, frame(DEVICE, {"deviceId": device_id}))
            case happenings.DeviceDeleted(device_id=device_id, workgroup=workgroup):
                self._all(workgroup, frame(DEVICE, {"deviceId": device_id}))
                for viewer in list(self._watchers.get(device_id, ())):
                    self.unwatch(viewer, device_id)
            case happenings.MetaChange(device_id=device_id, workgroup=workgroup):
                self._all(workgroup, frame(ardexa.META_CHANGE, ardexa.meta_change(device_id)))
            case happenings.RecordsStored():
                self._records(happening)
            case happenings.StatesChanged():
                self._states(happening)
            case happenings.Declared() | happenings.PluginPresence():
                self._watching(happening.workgroup, happening.device_id, PLUGINS, {"deviceId": happening.device_id})
            case happenings.CommandChanged():
                body = {
                    "deviceId": happening.device_id,
                    "command": models.Command.of(happening.command).model_dump(),
                }
                self._watching(happening.workgroup, happening.device_id, COMMAND, body)
            case happenings.AlertRaised():
                body = {
                    "deviceId": happening.device_id,
                    "app_guid": happening.app_guid,
                    "table": happening.table,
                    "source": happening.source,
                    "name": happening.name,
                    "action": happening.action,
                    "message": happening.message,
                    "time": rfc3339(happening.time_us),
                }
                self._watching(happening.workgroup, happening.device_id, ALERT, body)
            case happenings.TokenEnded() | happenings.AccessChanged():
                pass  # the door closes what they opened

    def _presence(self, happening: happenings.DevicePresence) -> None:
        view = PresenceView(
            state=happening.state,  # type: ignore[arg-type]
            since_us=happening.since_us,
            cause=happening.cause,
            cause_text=happening.cause_text,
        )
        body = {"deviceId": happening.device_id, "presence": models.Presence.of(view).model_dump()}
        self._all(happening.workgroup, frame(PRESENCE, body))
        if happening.state in ("online", "offline"):
            name = cn(happening.device_id, happening.workgroup)
            change = ardexa.state_change(name, happening.workgroup, happening.online)
            self._all(happening.workgroup, frame(ardexa.STATE_CHANGE, change))

    def _records(self, happening: happenings.RecordsStored) -> None:
        device_id = happening.device_id
        if watchers := self._of(happening.workgroup, self._watchers.get(device_id, ())):
            records = [
                {
                    "kind": record.kind,
                    "table": record.table,
                    "source": record.source,
                    "time": record.event_time_us // 1000,
                    "message_id": record.message_id,
                    "fields": {name: ardexa.plain(value) for name, value in record.values().items()},
                }
                for record in happening.records
            ]
            encoded = frame(RECORDS, {"deviceId": device_id, "records": records})
            for viewer in watchers:
                viewer.put(encoded, live=True)
        for viewer in self._of(happening.workgroup, self._feeders.get(device_id, ())):
            self._feed(viewer, happening)

    def _feed(self, viewer: Viewer, happening: happenings.RecordsStored) -> None:
        for feed in viewer.feeds.values():
            wanted = feed.request
            if wanted.device_id != happening.device_id:
                continue
            for record in happening.records:
                if record.table == wanted.table and record.source == wanted.source:
                    event_time = rfc3339(record.event_time_us)
                    values = record.values()
                    body = ardexa.feed_reply(wanted, feed.feed_id, event_time, record.message_id, values)
                    if body is not None:
                        viewer.put(frame("device:feed:reply", body), live=True)

    def _states(self, happening: happenings.StatesChanged) -> None:
        states = [
            {
                "app_guid": state.app_guid,
                "table": state.table,
                "source": state.source,
                "field": state.name,
                "value": models.json_value(state.value),
                "time": models.stamp(state.time_us),
            }
            for state in happening.states
        ]
        body = {"deviceId": happening.device_id, "states": states}
        self._watching(happening.workgroup, happening.device_id, STATES, body, live=True)

    def _watching(self, workgroup: str, device_id: str, event: str, body: object, *, live: bool = False) -> None:
        viewers = self._of(workgroup, self._watchers.get(device_id, ()))
        if viewers:
            encoded = frame(event, body)
            for viewer in viewers:
                viewer.put(encoded, live=live)

    def _all(self, workgroup: str, encoded: Frame) -> None:
        for viewer in list(self._workgroups.get(workgroup, ())):
            if allows(viewer.actor, "read"):
                viewer.put(encoded)

    @staticmethod
    def _of(workgroup: str, viewers: Iterable[Viewer]) -> list[Viewer]:
        return [viewer for viewer in viewers if viewer.actor.workgroup == workgroup]


def _discard(index: defaultdict[str, set[Viewer]], key: str, viewer: Viewer) -> None:
    viewers = index.get(key)
    if viewers is not None:
        viewers.discard(viewer)
        if not viewers:
            del index[key]
