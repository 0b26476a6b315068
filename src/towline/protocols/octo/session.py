# SPDX-License-Identifier: Apache-2.0
"""One plugin's connection, seen from the agent: frames in, typed events or error replies out.

Looking up an access key may need the network, so a frame is taken in two pure steps::

    session = Session(guard)                       # one Guard for the agent, one Session for each connection
    seen = session.inspect(frame, now_us)          # cheap checks; nothing is proven yet
    if isinstance(seen, ErrorReply):
        send(seen.encode())
    else:
        key = await key_of(seen.signer)            # None: this device has no such plugin
        event = session.accept(seen, key, now_us)  # signature (0.5 ms), time, replay, schema
        ...                                        # an ErrorReply, or one of the events below

Frames of one connection must go through both steps in the order they came. Nothing is sent on success, and no
refusal closes the connection; only a frame over ``limits.max_frame_bytes`` is for the transport to refuse (1009).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET

from towline.protocols.octo import messages as m
from towline.protocols.octo import signature, validate
from towline.protocols.octo.command import CommandState, Step
from towline.protocols.octo.declaration import Declaration, ModuleIndex, check_guid
from towline.protocols.octo.envelope import FROM_PLUGIN, Envelope, Name, parse_envelope
from towline.protocols.octo.errors import ErrorReply, OctoError, Reason
from towline.protocols.octo.guard import CallWindow, Guard, PluginMemory
from towline.protocols.octo.limits import MAX_RESULT_DEPTH, too_deep

US = 1_000_000
_results = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class Inspected:
    """A well-formed frame whose sender is not proven yet.

    :ivar name: the method
    :ivar signer: lower-case appGUID whose key must have signed it
    :ivar epoch_us: what the message says
    :ivar size: bytes of the frame
    """

    name: Name
    signer: str
    epoch_us: int
    size: int
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Registered:
    """``notifyPluginUpdate``: the plugin is online with this declaration, which replaces any before.

    :ivar first: the connection's first; the agent then sends alarm and config settings
    """

    declaration: Declaration
    first: bool


@dataclass(frozen=True, slots=True)
class StatesReported:
    module: str
    states: tuple[validate.StateValue, ...]
    epoch_us: int


@dataclass(frozen=True, slots=True)
class MetricsReported:
    module: str
    metrics: tuple[validate.MetricSample, ...]
    epoch_us: int


@dataclass(frozen=True, slots=True)
class EventsReported:
    module: str
    events: tuple[validate.EventOccurrence, ...]
    epoch_us: int


@dataclass(frozen=True, slots=True)
class AlertsReported:
    module: str
    alerts: tuple[validate.AlertChange, ...]
    epoch_us: int


@dataclass(frozen=True, slots=True)
class CommandAcked:
    """An ack that fits its command.

    :ivar step: what it did; ``step.command`` is the command, ``step.state`` the new state
    :ivar result_json: the result as JSON text (an object or a string), None when it has none
    :ivar states: to refresh at once
    """

    step: Step
    result_json: str | None
    states: tuple[validate.StateValue, ...]
    epoch_us: int

    @property
    def command_id(self) -> str:
        return self.step.command.command_id

    @property
    def state(self) -> CommandState:
        return self.step.state


@dataclass(frozen=True, slots=True)
class LocalCommandAsked:
    """A plugin wants another plugin's command run; whether that exists is for the agent to check."""

    client: str
    target: str
    command_id: str
    module: str
    name: str
    params: tuple[m.ParamValue, ...]


Accepted = (
    Registered | StatesReported | MetricsReported | EventsReported | AlertsReported | CommandAcked | LocalCommandAsked
)


class Session:
    """The agent's side of one plugin connection.

    :ivar app_guid: the plugin it is bound to, from its registration on; None before
    :ivar declaration: the newest registration; None before
    """

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.app_guid: str | None = None
        self.declaration: Declaration | None = None
        self._limits = guard.limits
        self._unbound = CallWindow(guard.limits.calls_per_hour)
        self._memory: PluginMemory | None = None

    def inspect(self, frame: bytes | str, now_us: int, *, binary: bool = False) -> Inspected | ErrorReply:
        """What can be said without the key: budget, size, JSON, envelope, order, appGUID.

        :param frame: one frame, exactly as received
        :param binary: it came as a binary frame
        """
        try:
            # Until a key is proven the frames count for the connection, or anyone could use up a plugin's budget.
            (self._memory.calls if self._memory else self._unbound).take(now_us)
            if binary:
                raise OctoError(Reason.BINARY, "binary frames are not read: send UTF-8 text")
            return self._inspect(frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame)
        except OctoError as exc:
            return self.refuse(exc)

    def accept(self, seen: Inspected, key: str | None, now_us: int) -> Accepted | ErrorReply:
        """Prove the sender and check the content.

        :param key: the access key of ``seen.signer``; None when this device has none
        """
        try:
            event = self._accept(seen, key, now_us)
        except OctoError as exc:
            return self.refuse(exc)
        self.guard.accepted[seen.name.value] += 1
        return event

    def refuse(self, error: OctoError) -> ErrorReply:
        """Count a refusal and make its reply; also for refusals that only the agent can know of."""
        self.guard.refused[error.reason] += 1
        return ErrorReply.of(error)

    def _inspect(self, frame: bytes) -> Inspected:
        limits = self._limits
        size = len(frame)
        largest = max(limits.max_bytes(name) for name in FROM_PLUGIN)
        if size > largest:  # before any parsing
            raise OctoError(Reason.SIZE, f"the message has {size} bytes; at most {largest} for any method")
        envelope = parse_envelope(frame)
        name = envelope.name
        if name not in FROM_PLUGIN:
            raise OctoError(Reason.METHOD, f"{name} is sent by agents, not by plugins", where="$.method")
        if size > limits.max_bytes(name):
            raise OctoError(Reason.SIZE, f"the message has {size} bytes; at most {limits.max_bytes(name)} for {name}")
        if envelope.version == "v1" and not limits.allow_v1:
            raise OctoError(Reason.METHOD, "v1 is switched off: sign and send v2", where="$.method")
        if self.declaration is None and name is not Name.UPDATE:
            raise OctoError(Reason.SEQUENCE, f"{name} before this connection's first notifyPluginUpdate")
        if envelope.version == "v1" and isinstance(envelope.params.get("epoch"), int):
            envelope.params["epoch"] = str(envelope.params["epoch"])  # as scripts send it
        member = "clientAppGUID" if name is Name.LOCAL_COMMAND else "appGUID"
        signer = check_guid(_text(envelope, member), f"$.params.{member}")
        if self.app_guid is not None and signer != self.app_guid:
            raise OctoError(
                Reason.BINDING, f"this connection belongs to plugin {self.app_guid}", where=f"$.params.{member}"
            )
        epoch_us = validate.parse_epoch(_text(envelope, "epoch"), "$.params.epoch")
        return Inspected(name, signer, epoch_us, size, envelope)

    def _accept(self, seen: Inspected, key: str | None, now_us: int) -> Accepted:
        if key is None:
            raise OctoError(
                Reason.KEY,
                f"sign error: this device has no access key for plugin {seen.signer}",
                where="$.params.appGUID",
                hint=self.guard.no_key_hint,
            )
        if self.app_guid is not None and seen.signer != self.app_guid:
            raise OctoError(Reason.BINDING, f"this connection belongs to plugin {self.app_guid}")
        identity = None
        if seen.envelope.version == "v2":
            identity = signature.check(seen.envelope.unsigned, seen.envelope.authorization, key)
        window = self._limits.epoch_window_s * US
        if window and abs(seen.epoch_us - now_us) > window:
            raise OctoError(
                Reason.EPOCH,
                f"time error: the epoch is {abs(seen.epoch_us - now_us) // US} s"
                f" {'ahead of' if seen.epoch_us > now_us else 'behind'} this device's clock;"
                f" at most {self._limits.epoch_window_s} s",
                where="$.params.epoch",
            )
        memory = self._memory or self.guard.of(seen.signer)
        if identity is not None:
            memory.replays.check(identity, seen.epoch_us, now_us)
        if seen.name is Name.UPDATE:
            return self._register(seen, memory, now_us)
        assert self.declaration is not None
        return self._content(seen, self.declaration, memory, now_us)

    def _register(self, seen: Inspected, memory: PluginMemory, now_us: int) -> Registered:
        first = self._memory is None
        if first:
            memory.calls.take(now_us)
        declaration = Declaration.parse(seen.envelope.params, self._limits)
        self.guard.check_name(declaration.app_name, declaration.app_guid)
        self._memory, self.app_guid, self.declaration = memory, declaration.app_guid, declaration
        return Registered(declaration, first)

    def _content(self, seen: Inspected, declaration: Declaration, memory: PluginMemory, now_us: int) -> Accepted:
        params = seen.envelope.params
        rules = validate.Rules(self._limits, now_us)
        epoch = seen.epoch_us
        if seen.name is Name.LOCAL_COMMAND:
            return _local(m.read(params, m.LocalCommandMessage))
        module = validate.module_of(declaration, _text(seen.envelope, "moduleName"))
        if seen.name is Name.COMMAND_ACK:
            return self._ack(m.read(params, m.CommandAck), module, memory, epoch, rules)
        return read_report(seen.name, params, module, epoch, rules)

    def _ack(
        self,
        ack: m.CommandAck,
        module: ModuleIndex,
        memory: PluginMemory,
        epoch_us: int,
        rules: validate.Rules,
    ) -> CommandAcked:
        at = "$.params.commandAcks"
        strict = self._limits.strict
        if ack.command_acks is UNSET and strict:
            raise OctoError(Reason.SCHEMA, "Object missing required field 'commandAcks'", where="$.params")
        result: dict[str, Any] | str | None = None
        for number, item in enumerate([] if ack.command_acks is UNSET else ack.command_acks):
            if isinstance(item.result, str) and strict:
                raise OctoError(Reason.SCHEMA, "a result is an object", where=f"{at}[{number}].result")
            if too_deep(item.result, MAX_RESULT_DEPTH):
                raise OctoError(
                    Reason.SCHEMA,
                    f"the result nests deeper than {MAX_RESULT_DEPTH} objects and arrays",
                    where=f"{at}[{number}].result",
                )
            if isinstance(item.result, dict | str):
                result = item.result
        states = validate.check_states(module, ack.states, epoch_us, rules)
        # Last, since it changes the book: an ack refused for its shape leaves the command as it was.
        step = memory.commands.apply(ack, rules.now_us)
        return CommandAcked(step, None if result is None else _results.encode(result).decode(), states, epoch_us)


def read_report(
    name: Name, params: dict[str, Any], module: ModuleIndex, epoch_us: int, rules: validate.Rules
) -> StatesReported | MetricsReported | EventsReported | AlertsReported:
    """States, metrics, events or alerts against the declaration; for whoever sends them, too.

    :raises OctoError: ``schema``, ``epoch``
    """
    called = module.spec.module_name
    if name is Name.STATE:
        states = m.read(params, m.StateMessage).states
        return StatesReported(called, validate.check_states(module, states, epoch_us, rules), epoch_us)
    if name is Name.METRIC:
        metrics = m.read(params, m.MetricMessage).metrics
        return MetricsReported(called, validate.check_metrics(module, metrics, epoch_us, rules), epoch_us)
    if name is Name.EVENT:
        events = m.read(params, m.EventMessage).events
        return EventsReported(called, validate.check_events(module, events, epoch_us, rules), epoch_us)
    alarms = m.read(params, m.AlertMessage).alarms
    return AlertsReported(called, validate.check_alerts(module, alarms, epoch_us, rules), epoch_us)


def _local(message: m.LocalCommandMessage) -> LocalCommandAsked:
    client = message.client_app_guid.lower()
    target = check_guid(message.app_guid, "$.params.appGUID")
    if message.command_source != "local":
        raise OctoError(Reason.SCHEMA, 'commandSource must be "local"', where="$.params.commandSource")
    # The prefix keeps these ids apart from the ledger's and from other clients'.
    if not message.command_id.lower().startswith(f"{client}|"):
        raise OctoError(Reason.SCHEMA, "commandId is <clientAppGUID>|<number>", where="$.params.commandId")
    if len(message.commands) != 1:
        raise OctoError(Reason.SCHEMA, f"one command a message, not {len(message.commands)}", where="$.params.commands")
    command = message.commands[0]
    return LocalCommandAsked(
        client, target, message.command_id, message.module_name, command.name, tuple(command.params)
    )


def _text(envelope: Envelope, member: str) -> str:
    value = envelope.params.get(member)
    if not isinstance(value, str):
        problem = "is required" if value is None else "must be a string"
        raise OctoError(Reason.SCHEMA, f"{member} {problem}", where=f"$.params.{member}")
    return value
