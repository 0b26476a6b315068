# SPDX-License-Identifier: Apache-2.0
"""The agent, put together: plugin port, spool, journal, link, shell, bundled plugins."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from towline.agent.bundled import PLUGINS, Supervisor
from towline.agent.certificate import server_context
from towline.agent.commands import CommandDesk
from towline.agent.database import Database
from towline.agent.enrol import EnrolFile, data_directory, enrol
from towline.agent.files import prepare_directory
from towline.agent.identity import Identity, load_identity
from towline.agent.journal import Journal
from towline.agent.keyring import KeyRing
from towline.agent.keys import Keys
from towline.agent.link import Link
from towline.agent.platform import FileLock
from towline.agent.plugincore import PluginCore
from towline.agent.pluginserver import PluginServer
from towline.agent.pluginsettings import PluginSettings
from towline.agent.settings import AgentSettings
from towline.agent.shell import Shell
from towline.agent.spool import Outgoing, Spool
from towline.agent.uplink import SendFrame, Uplink
from towline.clock import Clock
from towline.errors import StartError, TowlineError, Unavailable
from towline.protocols.link import messages as m
from towline.protocols.link.items import Record, Value
from towline.protocols.octo.guard import Guard
from towline.protocols.octo.limits import Limits

__all__ = ["Agent", "PluginSide", "enrol", "octo_limits", "run_agent"]

log = logging.getLogger("towline.agent")

DATABASE_FILE = "agent.db"
LOCK_FILE = "agent.lock"
COUNTERS_TABLE = "towline-agent"
"""Where the hub keeps the agent's own counters."""
_LAG_PROBE_S = 0.25
_LAG_LIMIT_S = 0.05
_PRUNE_S = 86_400.0
_REPORT_S = 3600.0
_GOODBYE_S = 0.5
_ENROL_POLL_S = 0.25
_LINK_AGAIN_S = 5.0


def octo_limits(settings: AgentSettings) -> Limits:
    """The plugin API's limits from the settings."""
    octo = settings.octo
    return Limits(
        max_payload_bytes=octo.max_payload_bytes,
        max_update_bytes=octo.max_update_bytes,
        max_ack_bytes=octo.max_ack_bytes,
        epoch_window_s=octo.epoch_window_s,
        calls_per_hour=octo.calls_per_hour,
        strict=octo.strict,
        allow_v1=octo.allow_v1,
    )


class PluginSide:
    """What serves plugins, the same with and without a hub."""

    def __init__(self, settings: AgentSettings, database: Database, outgoing: Outgoing, clock: Clock) -> None:
        limits = octo_limits(settings)
        self.guard = Guard(limits, reserved={plugin.app_name: plugin.app_guid for plugin in PLUGINS.values()})
        self.keys = Keys(database, clock)
        self.settings = PluginSettings(database, limits)
        self.core = PluginCore(
            outgoing,
            self.keys,
            self.guard,
            self.settings,
            database,
            clock,
            agent_events=settings.octo.agent_events,
        )
        self.server = PluginServer(self.core, self.guard, max_connections=settings.octo.max_connections)
        self.desk = CommandDesk(Journal(database, outgoing), self.guard, self.core.plugins, clock)
        self.core.commands = self.desk
        self._port = settings.plugin_port

    async def start(self, data: Path) -> None:
        """Take up what the database holds, then listen. StartError ``agent.plugin_port``, ``agent.certificate``."""
        await self.keys.open()
        await self.settings.open()
        await self.core.open()
        await self.desk.open()
        await self.server.start(self._port, await asyncio.to_thread(server_context, data))

    async def stop(self) -> None:
        """Close the port and every plugin's connection, and finish what was begun."""
        await self.server.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await self.desk.settle()


class Agent:
    """One device's agent. ``await run(stop)``.

    :ivar lag_max_s: the longest time that the event loop was held up
    """

    def __init__(self, settings: AgentSettings, clock: Clock) -> None:
        self.settings = settings
        self.data = data_directory(settings)
        self.identity: Identity | None = None
        self.link: Link | None = None
        self.lag_max_s = 0.0
        self._lags = 0
        self._told: dict[str, int] = {}
        self._adopted = True
        self._clock = clock
        self._enrol_file = EnrolFile(settings, self.data, clock)
        self.database = Database(self.data / DATABASE_FILE)
        self.spool = Spool(self.database, limit=settings.spool_bytes)
        self.uplink = Uplink(self.spool, clock, flush_s=settings.flush_s)
        self.plugins = PluginSide(settings, self.database, self.spool, clock)
        self.shell = Shell(settings)
        self.bundled = Supervisor(self.data, settings, self.plugins.keys)
        self._background: set[asyncio.Task[Any]] = set()

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Until ``stop`` is set, then end within two seconds.

        :param ready: called once plugins can connect; the link may still be dialling
        :raises StartError: ``agent.*``
        """
        prepare_directory(self.data)
        lock = FileLock(self.data / LOCK_FILE)
        if not lock.acquire():
            raise StartError(
                "agent.locked",
                f"another agent (process {lock.holder()}) works with this data directory",
                where=str(self.data),
            )
        try:
            await self._run(stop, ready)
        finally:
            lock.release()

    async def _run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        keys = KeyRing(self.data, self._clock, days=self.settings.key_days)
        self.identity = load_identity(self.data)
        await self.database.open()
        try:
            await self.spool.open(self.identity.device_id if self.identity else "")
            self.uplink.start()
            await self.plugins.start(self.data)
            self.bundled.start(self.plugins.server.port)
            for work in (self._tick(), self._probe_lag(), self._tell_counters()):
                self._spawn(work)
            ready()
            link_stop = asyncio.Event()
            linked = self._spawn(self._link(keys, link_stop))
            await stop.wait()
            await self._stop(linked, link_stop)
        finally:
            for task in list(self._background):
                task.cancel()
            await asyncio.gather(*self._background, return_exceptions=True)
            await self.uplink.stop()
            await self.bundled.stop()
            await self.plugins.stop()
            await self.database.close()
        self._report("agent stopped")

    async def _stop(self, linked: asyncio.Task[Any], link_stop: asyncio.Event) -> None:
        """Plugins first, so that their going still travels; then the link."""
        await self.shell.stop()
        await asyncio.gather(self.bundled.stop(), self.plugins.stop())
        with contextlib.suppress(Unavailable):
            await self.spool.commit()
        if self.link is not None and self.link.online:
            await _until(lambda: not self.spool.flights.get("urgent"), _GOODBYE_S)
        link_stop.set()
        await asyncio.wait({linked}, timeout=_GOODBYE_S)

    # -- the link
    # ------------------------------------------------------------------------------------------------------

    async def _link(self, keys: KeyRing, stop: asyncio.Event) -> None:
        """Enrol if need be, and keep the link; whatever fails (a full disk) is begun anew."""
        while not stop.is_set():
            try:
                await self._enrolled_link(keys, stop)
                return
            except Exception:
                log.exception("the link failed; it is begun anew")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LINK_AGAIN_S):
                    await stop.wait()

    async def _enrolled_link(self, keys: KeyRing, stop: asyncio.Event) -> None:
        if self.identity is None:
            self.identity = await self._await_enrolment(stop)
            if self.identity is None:
                return
            self._adopted = False
        if not self._adopted:
            await self._adopt(self.identity)
        if self.link is None:
            self.link = Link(
                self.settings,
                self.identity,
                keys,
                self.uplink,
                self,
                self._clock,
                spool_id=lambda: self.spool.spool_id,
                on_rejected=self._rejected,
            )
        self.link.identity = self.identity
        await self.link.run(stop)

    async def _adopt(self, identity: Identity) -> None:
        self._adopted = False
        await self.spool.adopt(identity.device_id)
        self.uplink.adopted()
        self._adopted = True

    async def _await_enrolment(self, stop: asyncio.Event) -> Identity | None:
        """Until there is an identity: by ``towline agent enrol`` beside us, or by the line in ``enrol_file``."""
        told = False
        while not stop.is_set():
            identity = load_identity(self.data) or await self._enrol_file.redeem()
            if identity is not None:
                return identity
            if not told:
                log.warning("this device is not enrolled yet; plugins can connect, their data is kept")
                told = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ENROL_POLL_S):
                    await stop.wait()
        return None

    async def _rejected(self, error: TowlineError) -> Identity | None:
        """The hub does not want this identity: a fresh line in ``enrol_file`` gives another."""
        log.warning("the hub does not accept this device: %s", error, extra={"code": error.code})
        identity = await self._enrol_file.redeem()
        if identity is not None:
            self.identity = identity
            await self._adopt(identity)
        return identity

    # -- Downlink
    # ------------------------------------------------------------------------------------------------------

    def link_up(self, send: SendFrame) -> None:
        self.plugins.keys.link_up(send)
        self.shell.link_up(send)
        self.plugins.core.connectivity(True)

    def link_down(self, reason: str) -> None:
        self.plugins.keys.link_down()
        self.shell.link_down()
        self.plugins.core.connectivity(False)

    def resync(self) -> None:
        self.shell.cancel_all("link_lost")

    def message(self, message: m.Message, stream: int) -> None:
        match message:
            case m.Command():
                self.plugins.desk.command(message)
            case m.CommandQuery():
                self.plugins.desk.query(message)
            case m.PluginKey():
                self._spawn(self.plugins.keys.on_key(message))
            case m.PluginKeyRevoked():
                self._spawn(self.plugins.keys.on_revoked_message(message))
            case m.Settings():
                self._spawn(self._settings(message))
            case m.Exec():
                self.shell.exec(message, stream)
            case m.Credit():
                self.shell.credit(message, stream)
            case m.ExecCancel():
                self.shell.cancel(message, stream)
            case _:
                assert self.link is not None
                self.link.counters["unknown_frames"] += 1

    async def _settings(self, message: m.Settings) -> None:
        await self.plugins.settings.update(message)
        self.plugins.core.settings_changed(message.app_guid.lower())

    # -- background
    # ----------------------------------------------------------------------------------------------------

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(self._guarded(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except Exception:
            log.exception("a part of the agent failed")

    async def _tick(self) -> None:
        """Each second: commands expire and time out. Each hour: the counters. Each day: the journal is pruned."""
        pruned = reported = self._clock.monotonic()
        while True:
            await asyncio.sleep(1.0)
            try:
                await self.plugins.desk.tick()
                if self._clock.monotonic() - reported > _REPORT_S:
                    reported = self._clock.monotonic()
                    self._report("agent counters")
                if self._clock.monotonic() - pruned > _PRUNE_S:
                    pruned = self._clock.monotonic()
                    await self.plugins.desk.prune()
            except Unavailable as error:
                log.warning("%s", error)

    async def _probe_lag(self) -> None:
        while True:
            before = self._clock.monotonic()
            await asyncio.sleep(_LAG_PROBE_S)
            lag = self._clock.monotonic() - before - _LAG_PROBE_S
            self.lag_max_s = max(self.lag_max_s, lag)
            self._lags += lag > _LAG_LIMIT_S

    async def _tell_counters(self) -> None:
        """The hub gets the counters that changed, like anything else that is measured."""
        while self.settings.report_s:
            await asyncio.sleep(self.settings.report_s)
            counted = self.stats()
            changed: dict[str, Value] = {
                name: count for name, count in counted.items() if count != self._told.get(name, 0)
            }
            if changed:
                self.spool.append("live", [Record("metric", COUNTERS_TABLE, "counters", self._clock.now_us(), changed)])
            self._told = counted

    def _report(self, what: str) -> None:
        log.info(what, extra={key: value for key, value in self.stats().items() if value})

    def stats(self) -> dict[str, int]:
        """Every counter, flat: ``spool.dropped.metric``, ``octo.refused.signature``, ``link.dials``, …"""
        groups: dict[str, Counter[Any]] = {
            "spool.dropped": self.spool.dropped,
            "spool.refused": self.spool.refused,
            "uplink": self.uplink.counters,
            "plugins": self.plugins.server.counters,
            "octo.refused": self.plugins.guard.refused,
            "octo.accepted": self.plugins.guard.accepted,
            "keys": self.plugins.keys.counters,
            "commands": self.plugins.desk.counters,
            "shell": self.shell.counters,
            "bundled": self.bundled.counters,
        }
        if self.link is not None:
            groups["link"] = self.link.counters
            groups["device_key"] = self.link.keys.counters
        flat = {f"{group}.{name}": count for group, counter in groups.items() for name, count in counter.items()}
        flat["spool.bytes"] = self.spool.size
        flat["loop.lags"] = self._lags
        flat["loop.lag_max_ms"] = round(self.lag_max_s * 1000)
        return flat


async def run_agent(
    settings: AgentSettings, clock: Clock, stop: asyncio.Event, ready: Callable[[], None] = lambda: None
) -> None:
    """Run an agent until ``stop``; see :meth:`Agent.run`."""
    await Agent(settings, clock).run(stop, ready)


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not condition() and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0.01)
