# SPDX-License-Identifier: Apache-2.0
"""The plugin itself: declares, connects, registers, sends, runs commands, and comes back after any loss."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from towline import log as logsetup
from towline.clock import Clock, SystemClock
from towline.errors import InvalidInput, StartError
from towline.protocols.octo import messages as m
from towline.protocols.octo import outgoing
from towline.protocols.octo.declaration import Declaration, ModuleIndex
from towline.protocols.octo.envelope import Name
from towline.protocols.octo.errors import OctoError, Reason
from towline.protocols.octo.limits import DEFAULT_LIMITS, SIGNATURE_BYTES, Limits
from towline.protocols.octo.validate import Rules, module_of
from towline.sdk.commands import CommandRunner, ack_params
from towline.sdk.connection import Connection
from towline.sdk.credential import Credential
from towline.sdk.declare import Handler, Module
from towline.sdk.items import MEMBERS, Item, Number, Time, check_items, metric_items, state_items, timed
from towline.sdk.outbox import split_items
from towline.sdk.registration import Registration, read_template
from towline.sdk.settings import AlarmSetting, ConfigSetting, Settings

log = logging.getLogger("towline.sdk")

DEFAULT_URL = "wss://localhost:55688"
Callback = Callable[[], Awaitable[None]]
C = TypeVar("C", bound=Callback)


class Plugin:
    """One plugin process.

    Nothing is sent before :meth:`run` or :meth:`serve`. While there is no connection, messages wait in a bounded
    outbox: acks and alerts first, of telemetry the newest 128.

    :param credential: who it is
    :param name: appName: a letter, then letters, digits, ``_`` and ``-``
    :param version: ``1.2.3``; give a new one whenever the declaration changes
    :param url: the agent's plugin port; default ``TOWLINE_PLUGIN_URL`` or ``wss://localhost:55688``
    :raises OctoError: the declaration breaks a rule (raised when it is first rendered)
    """

    def __init__(
        self,
        credential: Credential,
        *,
        name: str,
        version: str,
        display_name: str | None = None,
        kind: str = "ib",
        start_command: str | None = None,
        stop_command: str | None = None,
        url: str | None = None,
        limits: Limits = DEFAULT_LIMITS,
        clock: Clock | None = None,
        template: dict[str, Any] | None = None,
    ) -> None:
        self.credential = credential
        self.online: bool | None = None
        head = {
            "displayName": display_name,
            "type": kind,
            "startCommand": start_command,
            "stopCommand": stop_command,
        }
        self.registration = Registration(
            credential.app_guid, name, version, head=head, limits=limits, template=template
        )
        self._limits = limits
        self._clock = clock or SystemClock()
        self._settings = Settings()
        self._runner = CommandRunner(self.registration.handlers, self._ack)
        self._connection = Connection(
            credential,
            url or os.environ.get("TOWLINE_PLUGIN_URL") or DEFAULT_URL,
            limits=limits,
            clock=self._clock,
            render=self.registration.render,
            received=self._received,
        )
        self._stop = asyncio.Event()
        self._background: list[Callback] = []
        self._alarm_callbacks: list[Callback] = []
        self._config_callbacks: list[Callback] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    @classmethod
    def from_credential(cls, path: str | os.PathLike[str], **options: Any) -> Plugin:
        """From a ``plugin_credential.json``; the options are the constructor's.

        :raises StartError: the file is missing or wrong
        """
        return cls(Credential.load(path), **options)

    @classmethod
    def from_declaration(
        cls,
        credential: Credential | str | os.PathLike[str],
        declaration: str | os.PathLike[str] | Mapping[str, Any],
        *,
        name: str | None = None,
        version: str | None = None,
        **options: Any,
    ) -> Plugin:
        """From an existing ``plugin_update_template.json``, as it is.

        :param declaration: the file, its text, or the decoded message; with or without the envelope
        :param name: for ``${PLUGIN_NAME}``
        :param version: for ``${PLUGIN_VERSION}``
        :raises StartError: the file is missing
        :raises OctoError: it breaks a rule; the message has the JSON path
        """
        if not isinstance(credential, Credential):
            credential = Credential.load(credential)
        params = read_template(declaration, app_guid=credential.app_guid, name=name or "", version=version or "")
        return cls(credential, name=params["appName"], version=params["version"], template=params, **options)

    # --- declaring ------------------------------------------------------------------------------------------

    def module(self, name: str | None = None, **content: Any) -> Module:
        """Add a module; by default named as the plugin. ``content`` is that of :class:`Module`."""
        return self.registration.module(name, **content)

    def command(self, name: str, *, module: str | None = None) -> Callable[[Handler], Handler]:
        """For :meth:`from_declaration`: decorate the function of a command that the template declares."""
        return self.registration.command(name, module=module)

    @property
    def declaration(self) -> Declaration:
        """The checked declaration; it is taken at the first use and stands from then on.

        :raises OctoError: it breaks a rule
        """
        return self.registration.declaration

    def background(self, function: C) -> C:
        """Decorate an async function that runs beside the connection; an error in it ends the plugin."""
        self._background.append(function)
        return function

    def on_alarms(self, function: C) -> C:
        """Decorate what is called when alarm settings arrive; read them with :meth:`alarm`."""
        self._alarm_callbacks.append(function)
        return function

    def on_configs(self, function: C) -> C:
        """Decorate what is called when config settings arrive; read them with :meth:`config`."""
        self._config_callbacks.append(function)
        return function

    def refresh_properties(self) -> None:
        """Register again, with the properties as they are now in the modules.

        :raises OctoError: one breaks a rule; nothing is sent
        """
        self.registration.refresh()
        self._connection.register_again()

    # --- sending --------------------------------------------------------------------------------------------

    async def metrics(
        self,
        values: Mapping[str, Number] | Iterable[tuple[str, Number, Time | None]],
        *,
        module: str | None = None,
        time: Time | None = None,
    ) -> bool:
        """Send numbers: ``{"cpu": 12.5}``, or rows of (name, value, time); split over messages where needed.

        :returns: True when sent, False when they wait for a connection or the hourly budget
        :raises OctoError: a name is not declared, a value is no decimal, or a time no time
        """
        return await self._tell(Name.METRIC, module, metric_items(values, time, self._untimed()))

    async def state(self, name: str, value: Any, *, module: str | None = None, time: Time | None = None) -> bool:
        """Send one state; see :meth:`states`."""
        return await self.states({name: value}, module=module, time=time)

    async def states(self, values: Mapping[str, Any], *, module: str | None = None, time: Time | None = None) -> bool:
        """Send states: text (numbers become text), ``{url, alias}``, or rows of cells.

        :raises OctoError: a name is not declared, a value does not have its shape, or ``time`` is no time
        """
        return await self._tell(Name.STATE, module, state_items(values, time, self._untimed()))

    async def event(
        self, name: str, value: str | None = None, *, module: str | None = None, time: Time | None = None
    ) -> bool:
        """Send that something happened, with an optional detail.

        :raises OctoError: the event is not declared, the detail is no text, or ``time`` is no time
        """
        item = {"name": name} if value is None else {"name": name, "value": value}
        return await self._tell(Name.EVENT, module, [timed(item, time, self._now(), "$.params.events[0]")])

    async def alert(
        self,
        name: str,
        action: str = "trigger",
        message: str = "",
        *,
        module: str | None = None,
        time: Time | None = None,
    ) -> bool:
        """Trigger or resolve an alarm, if operators switched it on; False when they did not.

        :raises OctoError: the alarm is not declared, action is neither ``trigger`` nor ``resolve``, the message is no
            text, or ``time`` is no time
        """
        item = {"name": name, "action": action, "message": message}
        return await self._tell(Name.ALERT, module, [timed(item, time, self._now(), "$.params.alarms[0]")])

    def alarm(self, name: str, *, module: str | None = None) -> AlarmSetting:
        """An alarm's setting; off until the agent says otherwise."""
        return self._settings.alarms.get((self._module(module)[0], name), AlarmSetting())

    def config(self, name: str, *, module: str | None = None) -> ConfigSetting:
        """A config's setting; empty until the agent sends one."""
        return self._settings.configs.get((self._module(module)[0], name), ConfigSetting())

    @property
    def connected(self) -> bool:
        """Whether the registration was written on a connection that is open."""
        return self._connection.registered.is_set()

    async def wait_connected(self) -> None:
        """Wait until :attr:`connected`."""
        await self._connection.registered.wait()

    @property
    def waiting(self) -> int:
        """Messages in the outbox."""
        return len(self._connection.outbox)

    @property
    def dropped(self) -> int:
        """Messages given up since the outbox was full."""
        return self._connection.outbox.dropped

    @property
    def refusals(self) -> int:
        """Error replies received."""
        return self._connection.refusals

    @property
    def ignored(self) -> int:
        """Messages from the agent that were not taken: not its own, or with a fault; the log says which."""
        return self._connection.ignored

    @property
    def calls_left(self) -> int:
        """Calls left in this hour, the reserve for acks and alerts included."""
        return self._connection.outbox.left(self._clock.now_us())

    # --- running --------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run until SIGINT or SIGTERM. A wrong declaration ends with one line and status 2."""
        if not logging.getLogger().handlers:
            logsetup.setup()
        try:
            asyncio.run(self._run())
        except (StartError, InvalidInput) as exc:
            print(f"{self.registration.name}: {exc}", file=sys.stderr)  # noqa: T201 - for the person at the terminal
            raise SystemExit(2) from None

    async def serve(self) -> None:
        """Connect, and reconnect until :meth:`stop`; for programs with a loop of their own.

        :raises OctoError: the declaration breaks a rule
        """
        _ = self.declaration
        connection = asyncio.create_task(self._connection.run(), name="octo connection")
        background = [asyncio.ensure_future(function()) for function in self._background]
        stop = asyncio.create_task(self._stop.wait())
        try:
            pending: set[asyncio.Future[Any]] = {connection, stop, *background}
            while not stop.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            await _end([*background, stop])
            await self._runner.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._connection.flush(), 1.0)
            await _end([connection])

    def stop(self) -> None:
        """Make :meth:`serve` end: running commands are answered, the connection is closed."""
        self._stop.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, self.stop)
        await self.serve()

    async def _tell(self, name: Name, module: str | None, items: list[Item]) -> bool:
        where, index = self._module(module)
        member = MEMBERS[name]
        base = {"appGUID": self.credential.app_guid, "moduleName": where, "epoch": "0000000000", member: []}
        check_items(name, base, items, index, Rules(self._limits, self._clock.now_us()))
        if name is Name.ALERT and not self.alarm(items[0]["name"], module=where).enabled:
            return False
        room = self._limits.max_bytes(name) - len(outgoing.render(name, base)) - SIGNATURE_BYTES
        for part in split_items(items, room, member):
            self._connection.queue(name, {**base, member: part})
        await self._connection.flush()
        return not self.waiting

    def _module(self, name: str | None) -> tuple[str, ModuleIndex]:
        chosen = name or next(iter(self.declaration.modules), "")
        return chosen, module_of(self.declaration, chosen, "module")

    def _now(self) -> str:
        # What must keep its moment though it may have to wait: events and alerts.
        return outgoing.epoch_text(self._clock.now_us())

    def _untimed(self) -> str | None:
        # Without a connection it will be signed later, and must not take on that time.
        return None if self.connected else self._now()

    # --- receiving ------------------------------------------------------------------------------------------

    def _received(self, name: Name, params: dict[str, Any]) -> None:
        if name is Name.COMMAND:
            self._runner.receive(m.read(params, m.Command), self.declaration)
        elif name is Name.ALARM_UPDATE:
            if self._settings.apply_alarms(m.read(params, m.AlarmUpdate), self.declaration):
                self._call_all(self._alarm_callbacks)
        elif name is Name.CONFIG_UPDATE:
            if self._settings.apply_configs(m.read(params, m.ConfigUpdate), self.declaration):
                self._call_all(self._config_callbacks)
        elif name is Name.AGENT_EVENT:
            self.online = m.read(params, m.AgentEvent).server_connectivity == "online"
        else:
            raise OctoError(Reason.METHOD, f"{name} is nothing that this plugin takes", where="$.method")

    def _call_all(self, callbacks: list[Callback]) -> None:
        for callback in callbacks:
            task = asyncio.create_task(_guarded(callback))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _ack(self, command: m.Command, name: str, state: str, result: Any) -> None:
        params = ack_params(self.credential.app_guid, command, name, state, result, self._limits)
        self._connection.queue(Name.COMMAND_ACK, params)


async def _end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    for task in (tasks := list(tasks)):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _guarded(function: Callback) -> None:
    try:
        await function()
    except Exception:
        log.exception("a settings callback failed")
