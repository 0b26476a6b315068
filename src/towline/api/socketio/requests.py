# SPDX-License-Identifier: Apache-2.0
"""Requests of the live door. Whatever arrives is answered or counted; nothing raises."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from towline.api.settings import DoorSettings
from towline.api.socketio.fanout import Fanout
from towline.api.socketio.viewer import Feed, Viewer
from towline.errors import Conflict, NotFound, Refused, TowlineError, Unavailable
from towline.hub.execs import Execution
from towline.hub.hub import Hub
from towline.hub.privileges import allows
from towline.protocols.ardexa import events as ardexa

WATCH = "towline:watch"
UNWATCH = "towline:unwatch"

Args = Sequence[object]
Handler = Callable[[Viewer, Args], Awaitable[Any]]

logger = logging.getLogger(__name__)


class Requests:
    """One method for each event that a client may send."""

    def __init__(self, hub: Hub, settings: DoorSettings, counters: Counter[str], fanout: Fanout) -> None:
        self._hub = hub
        self._settings = settings
        self._counters = counters
        self._fanout = fanout
        self._handlers: dict[str, Handler] = {
            ardexa.CMD: self._cmd,
            ardexa.FEED: self._feed,
            ardexa.FEED_STOP: self._feed_stop,
            ardexa.FEED_STOP_ALL: self._feed_stop_all,
            ardexa.DO_UPGRADE: self._upgrade,
            WATCH: self._watch,
            UNWATCH: self._unwatch,
        }
        for event in ardexa.CONFIG_EVENTS:
            self._handlers[event] = self._not_yet(event, ardexa.config_error)
        for event in ardexa.COMPLETE_EVENTS:
            self._handlers[event] = self._not_yet(event, ardexa.rpc_error)

    def events(self) -> list[str]:
        """Names of the requests that are answered."""
        return list(self._handlers)

    async def handle(self, viewer: Viewer, event: str, args: Args) -> Any:
        """Answer one request. What is returned goes back as socket.io's acknowledgement, if the client asked for one."""
        handler = self._handlers.get(event)
        if handler is None:
            self._counters["live.unknown_event"] += 1
            return _failure("event.unknown", f"there is no event {event[:64]!r}")
        self._counters["live.requests"] += 1
        return await handler(viewer, args)

    # ardexa --------------------------------------------------------------------------------------------------------

    async def _cmd(self, viewer: Viewer, args: Args) -> Any:
        request_id = ardexa.request_id_of(args)
        try:
            request = ardexa.parse_cmd(args)
            if len(viewer.requests) >= self._settings.socket_requests:
                raise Unavailable("live.busy", f"{len(viewer.requests)} commands of this connection are still running")
            execution = await self._hub.execs.run(
                viewer.actor, request.device_id, request.cmd, self._settings.exec_timeout_s
            )
        except Exception as error:
            return self._refuse(viewer, ardexa.CMD, error, request_id)
        accepted = ardexa.cmd_accepted(execution.correlation_id, request_id)
        viewer.emit("device:cmd:rpc", accepted)
        task = asyncio.create_task(self._reply(viewer, execution, request_id))
        viewer.requests.add(task)
        task.add_done_callback(viewer.requests.discard)
        return accepted

    async def _reply(self, viewer: Viewer, execution: Execution, request_id: str | None) -> None:
        try:
            result = await execution.result()
        except TowlineError as error:
            stdout, stderr, code = "", f"{error.message}\n", -1
        except Exception:
            logger.exception("a shell command ended without a result")
            stdout, stderr, code = "", "internal error", -1
        else:
            stdout, stderr, code = result.stdout, result.stderr, result.return_code
            if result.reason and code < 0:
                # The documented reply has no member for a reason, so people read it where errors are read.
                gap = "" if not stderr or stderr.endswith("\n") else "\n"
                stderr = f"{stderr}{gap}{result.message or result.reason}\n"
        viewer.emit("device:cmd:reply", ardexa.cmd_reply(stdout, stderr, code, execution.correlation_id, request_id))

    async def _feed(self, viewer: Viewer, args: Args) -> Any:
        request_id = ardexa.request_id_of(args)
        try:
            request = ardexa.parse_feed(args)
            self._need(viewer, "control_devices")
            await self._hub.devices.get(viewer.actor, request.device_id)
            if len(viewer.feeds) >= self._settings.socket_feeds:
                raise Conflict("live.feeds", f"this connection has {len(viewer.feeds)} feeds, the most it may have")
        except Exception as error:
            return self._refuse(viewer, ardexa.FEED, error, request_id)
        feed = Feed(str(uuid.uuid4()), request)
        accepted = ardexa.feed_accepted(feed.feed_id, request_id)
        viewer.emit("device:feed:rpc", accepted)
        viewer.feeds[feed.feed_id] = feed
        self._fanout.feeding(viewer, request.device_id)
        return accepted

    async def _feed_stop(self, viewer: Viewer, args: Args) -> Any:
        request_id = ardexa.request_id_of(args)
        try:
            request = ardexa.parse_feed_stop(args)
            if not self._fanout.stop_feed(viewer, request.feed_id):
                raise NotFound("feed.unknown", "this connection has no such feed")
        except Exception as error:
            return self._refuse(viewer, ardexa.FEED_STOP, error, request_id)
        return self._complete(viewer, ardexa.FEED_STOP, request_id)

    async def _feed_stop_all(self, viewer: Viewer, args: Args) -> Any:
        for feed_id in list(viewer.feeds):
            self._fanout.stop_feed(viewer, feed_id)
        return self._complete(viewer, ardexa.FEED_STOP_ALL, ardexa.request_id_of(args))

    async def _upgrade(self, viewer: Viewer, args: Args) -> Any:
        self._counters["live.not_available"] += 1
        try:
            message, request_id = ardexa.NOT_AVAILABLE, ardexa.parse_device(args).request_id
        except ardexa.BadRequest as error:
            message, request_id = str(error), error.request_id
        body = ardexa.upgrade_error(message, request_id)
        viewer.emit("device:doUpgrade:reply", body)
        return body

    def _not_yet(self, event: str, shape: Callable[[str, str | None], dict[str, Any]]) -> Handler:
        async def answer(viewer: Viewer, args: Args) -> Any:
            self._counters["live.not_available"] += 1
            try:
                message, request_id = ardexa.NOT_AVAILABLE, ardexa.parse_device(args).request_id
            except ardexa.BadRequest as error:
                message, request_id = str(error), error.request_id
            body = shape(message, request_id)
            viewer.emit(f"{event}:rpc", body)
            return body

        return answer

    # Ours ----------------------------------------------------------------------------------------------------------

    async def _watch(self, viewer: Viewer, args: Args) -> Any:
        try:
            device_id = ardexa.parse_device(args).device_id
            await self._hub.devices.get(viewer.actor, device_id)
            if device_id not in viewer.watched and len(viewer.watched) >= self._settings.socket_feeds:
                raise Conflict(
                    "live.watches", f"this connection watches {len(viewer.watched)} devices, the most it may"
                )
        except Exception as error:
            return self._fail(error)
        self._fanout.watch(viewer, device_id)
        return {"ok": True}

    async def _unwatch(self, viewer: Viewer, args: Args) -> Any:
        try:
            device_id = ardexa.parse_device(args).device_id
        except ardexa.BadRequest as error:
            return self._fail(error)
        self._fanout.unwatch(viewer, device_id)
        return {"ok": True}

    # Answers -------------------------------------------------------------------------------------------------------

    def _need(self, viewer: Viewer, privilege: str) -> None:
        if not allows(viewer.actor, privilege):
            raise Refused("privilege.missing", f"the token does not have the privilege {privilege}")

    def _complete(self, viewer: Viewer, event: str, request_id: str | None) -> Any:
        body = ardexa.complete(request_id)
        viewer.emit(f"{event}:rpc", body)
        return body

    def _refuse(self, viewer: Viewer, event: str, error: Exception, request_id: str | None) -> Any:
        """``:rpc`` with the error; nothing follows it."""
        body = ardexa.rpc_error(self._fail(error)["error"]["message"], request_id)
        viewer.emit(f"{event}:rpc", body)
        return body

    def _fail(self, error: Exception) -> dict[str, dict[str, str]]:
        if isinstance(error, TowlineError):
            self._counters[f"live.error.{error.code}"] += 1
            return _failure(error.code, error.message)
        self._counters["live.error.internal"] += 1
        logger.error("a live request failed", exc_info=error)
        return _failure("internal", "internal error")


def _failure(code: str, message: str) -> dict[str, dict[str, str]]:
    return {"error": {"code": code, "message": message}}
