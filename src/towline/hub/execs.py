# SPDX-License-Identifier: Apache-2.0
"""Remote shell: one command on a device, its output and return code (spec ardexa §1.4).

The link that serves a device may end at another hub: then that hub runs the stream and sends output and end on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Literal, Protocol

from towline.errors import InvalidInput, Refused, TowlineError, Unavailable
from towline.hub import causes, peers
from towline.hub.actor import Actor
from towline.hub.core import Core
from towline.hub.identity import unknown_device
from towline.hub.session import Session
from towline.hub.views import ExecResult
from towline.ids import uuid4
from towline.protocols.link import messages as m
from towline.protocols.link.streams import StreamReceiver

if TYPE_CHECKING:
    from towline.hub.links import Links

MAX_CMD_BYTES = 32 * 1024
_GRACE_S = 10.0
"""How much longer than its own timeout a command is waited for before the hub itself ends the wait."""
_START_S = 5.0
_PIECE = 64 * 1024
_REMEMBER_ENDED = 1024

_MESSAGES = {
    "timeout": "the command ran longer than allowed and was killed",
    "cancelled": "the command was cancelled",
    "output_limit": "the command wrote more than is kept and was killed",
    "not_allowed": "the device's own configuration does not allow the remote shell",
    "busy": "the device runs as many commands as it can",
    "failed": "the device could not start the command",
    "link_lost": "the connection to the device was lost",
    "agent_stopped": "the agent stopped",
    "hub_died": "the hub that served the device is gone",
    "hub_closing": "the hub is shutting down",
}


class Sink(Protocol):
    """Where a command's output and end go."""

    def on_output(self, channel: Literal[0, 1, 2], data: bytes) -> None:
        """Some bytes of stdout (1) or stderr (2)."""
        ...

    def on_result(self, return_code: int, reason: str, message: str) -> None:
        """Once, last."""
        ...


class Execution:
    """A remote shell command under way. ``correlation_id`` is known at once."""

    def __init__(self, correlation_id: str, max_output: int, jti: str = "") -> None:
        self.correlation_id = correlation_id
        self.jti = jti
        """The session or token that asked."""
        self.ended = False
        """The command is over, whether or not anybody still waits for it."""
        self.over_limit = False
        self.settled = asyncio.Event()
        """Set when there is nothing more to wait for: the end came, or the output passed its limit."""
        self._max = max_output
        self._out: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        self._done: asyncio.Future[ExecResult] = asyncio.get_running_loop().create_future()

    async def result(self) -> ExecResult:
        """Wait for the end. Does not raise for what happens to the device: ``return_code`` −1 and a ``reason``.

        Refused ``token.revoked`` as soon as the session or token that asked has ended.
        """
        return await asyncio.shield(self._done)

    def cut_off(self) -> None:
        """Whoever waits may not hear any more of it. The command itself goes on, as when its caller is gone."""
        if not self._done.done():
            self._done.set_exception(Refused("token.revoked", "the token has ended; the command may still run"))
            self._done.exception()  # nobody may be waiting

    def on_output(self, channel: Literal[0, 1, 2], data: bytes) -> None:
        """Sink: keep up to the limit."""
        kept = self._out[2 if channel == 2 else 1]
        room = self._max - len(kept)
        kept += data[:room]
        if len(data) > room:
            self.over_limit = True
            self.settled.set()

    def on_result(self, return_code: int, reason: str, message: str) -> None:
        """Sink: the end."""
        self.ended = True
        self.settled.set()
        if self._done.done():
            return
        result = ExecResult(
            stdout=self._out[1].decode(errors="replace"),
            stderr=self._out[2].decode(errors="replace"),
            return_code=return_code,
            reason=reason or None,
            message=message or (_MESSAGES.get(reason) or causes.text(reason) if reason else ""),
        )
        self._done.set_result(result)


class _ExecStream:
    """The link's stream of one command, at the hub that serves the device."""

    def __init__(self, links: Links, session: Session, sink: Sink) -> None:
        self._links = links
        self._session = session
        self._sink: Sink | None = sink
        self.number = 0
        self._receiver: StreamReceiver | None = None

    def start(self, message: m.Exec) -> bool:
        """Open the stream; False when the link has too many."""
        number = self._session.open_stream(self)
        if number is None:
            return False
        self.number = number
        self._receiver = StreamReceiver(number, message.credit)
        self._links.send(self._session, m.encode(message, stream=number))
        return True

    def cancel(self, reason: str) -> None:
        """Nobody waits any longer: have it killed; what still comes is read and dropped."""
        if self._sink is not None:
            self._sink = None
            self._links.send(self._session, m.encode(m.ExecCancel(reason=reason), stream=self.number))

    def on_data(self, data: m.Data, seq: int) -> bytes | None:
        assert self._receiver is not None
        credit = self._receiver.take(data, seq)
        if self._sink is not None:
            self._sink.on_output(data.channel, data.data)
        return credit

    def on_end(self, end: m.End) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.on_result(end.return_code, end.reason or ("output_limit" if end.truncated else ""), end.message)

    def on_lost(self, cause: str) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.on_result(-1, "link_lost", f"the connection to the device was lost: {causes.text(cause)}")


class _PeerSink:
    """Sends output and end to the hub that asked."""

    def __init__(self, execs: Execs, hub: str, exec_id: str) -> None:
        self._execs = execs
        self.hub = hub
        self._exec_id = exec_id

    def on_output(self, channel: Literal[0, 1, 2], data: bytes) -> None:
        for at in range(0, len(data), _PIECE):
            self._execs.to_hub(self.hub, peers.ExecOutput(self._exec_id, channel, data[at : at + _PIECE]))

    def on_result(self, return_code: int, reason: str, message: str) -> None:
        self._execs.remote_streams.pop(self._exec_id, None)
        self._execs.to_hub(self.hub, peers.ExecEnd(self._exec_id, return_code, reason, message))


class Execs:
    """Use cases of the remote shell."""

    def __init__(self, core: Core, links: Links) -> None:
        self._core = core
        self._links = links
        self.running: dict[str, Execution] = {}
        self.remote_streams: dict[str, tuple[_ExecStream, str]] = {}
        """Commands that run here for other hubs: exec id → stream and the hub's address."""
        self._closed = False
        self._ended: deque[str] = deque(maxlen=_REMEMBER_ENDED)
        """Tokens that ended while a command of theirs may have been on its way to its start."""
        self._elsewhere: dict[str, str] = {}
        """Commands of ours that another hub runs: exec id → that hub's address."""

    async def run(self, actor: Actor, device_id: str, cmd: str, timeout_s: float = 60) -> Execution:
        """Start ``cmd`` with the device's shell.

        Refused ``privilege.missing``, NotFound ``device.unknown``, Unavailable ``device.offline``, ``hub.closing``,
        InvalidInput ``exec.cmd``, ``exec.timeout``.
        """
        core, settings = self._core, self._core.settings
        core.check(actor, "execs.run")
        if self._closed:
            raise Unavailable("hub.closing", "the hub is shutting down", hint="try again in a few seconds")
        size = len(cmd.encode(errors="surrogatepass"))
        if not cmd.strip() or size > MAX_CMD_BYTES or "\0" in cmd:
            raise InvalidInput(
                "exec.cmd", f"a command is 1 to {MAX_CMD_BYTES} bytes of text; this has {size}", where="$.cmd"
            )
        if not 0 < timeout_s <= settings.exec_timeout_seconds:
            raise InvalidInput(
                "exec.timeout", f"a timeout is up to {settings.exec_timeout_seconds} s", where="$.timeout_s"
            )
        if await core.store.devices.get(actor.workgroup, device_id) is None:
            raise unknown_device(device_id)
        if device_id not in self._links.devices and not self._links.other_hubs():
            raise _offline()
        message = m.Exec(
            exec_id=uuid4(core.random),
            command=cmd,
            timeout_s=timeout_s,
            max_output=settings.exec_output_bytes,
            user=actor.name,
        )
        # Nothing runs that is not written down: what cannot be written now is not started.
        await core.audit(actor, "device.exec", "device", device_id, cmd=cmd[:1000], id=message.exec_id)
        execution = Execution(message.exec_id, settings.exec_output_bytes, actor.jti)
        self.running[message.exec_id] = execution
        try:
            if actor.jti in self._ended:
                raise Refused("token.revoked", "the token has ended")
            stop = await self._start(actor, device_id, message, execution)
        except BaseException as error:
            del self.running[message.exec_id]
            if isinstance(error, TowlineError):
                await core.audit(actor, "device.exec_refused", "device", device_id, id=message.exec_id, code=error.code)
            raise
        core.counters["execs.started"] += 1
        core.spawn(self._watch(execution, timeout_s + _GRACE_S, stop), "exec")
        return execution

    async def _start(self, actor: Actor, device_id: str, message: m.Exec, execution: Execution) -> _Stop:
        session = self._links.devices.get(device_id)
        if session is not None and session.workgroup == actor.workgroup:
            stream = _ExecStream(self._links, session, execution)
            if not stream.start(message):
                raise Unavailable("exec.busy", "too many commands run on this device's link")
            return _Stop(stream=stream)
        start = peers.encode(peers.ExecStart(actor.workgroup, device_id, message))
        for hub in self._links.other_hubs():
            self._elsewhere[message.exec_id] = hub
            try:
                answer = await self._core.endpoint.call(hub, start, _START_S)
            except TowlineError:
                answer = b""
                self.to_hub(hub, peers.ExecStop(message.exec_id, "cancelled"))
            if answer == b"1":
                return _Stop(execs=self, hub=hub, exec_id=message.exec_id)
            del self._elsewhere[message.exec_id]
        raise _offline()

    async def _watch(self, execution: Execution, limit_s: float, stop: _Stop) -> None:
        """End the wait if the device does not: output over the limit, or no end long after the timeout."""
        try:
            try:
                async with asyncio.timeout(limit_s):
                    await execution.settled.wait()
            except TimeoutError:
                pass
            if not execution.ended:
                reason = "output_limit" if execution.over_limit else "timeout"
                stop.cancel(reason)
                execution.on_result(-1, reason, "")
        finally:
            execution.on_result(-1, "hub_closing", "")
            self.running.pop(execution.correlation_id, None)
            self._elsewhere.pop(execution.correlation_id, None)
            self._core.counters["execs.ended"] += 1

    def close(self) -> None:
        """The hub stops: whoever waits is told, and nothing begins any more. The doors call it while they can still answer."""
        self._closed = True
        for execution in self.running.values():
            execution.on_result(-1, "hub_closing", "")

    def token_ended(self, jti: str) -> None:
        """A session or token is over: who waits with it hears so at once, and gets no more output."""
        self._ended.append(jti)
        for execution in self.running.values():
            if jti and execution.jti == jti:
                execution.cut_off()

    # -- other hubs --------------------------------------------------------------------------------------------

    def serve(self, hub: str, start: peers.ExecStart) -> bytes:
        """Another hub asks to run a command on a device; ``b"1"`` if the device is served here."""
        session = self._links.devices.get(start.device_id)
        if session is None or session.workgroup != start.workgroup:
            return b""
        exec_id = start.message.exec_id
        stream = _ExecStream(self._links, session, _PeerSink(self, hub, exec_id))
        self.remote_streams[exec_id] = (stream, hub)
        if stream.start(start.message):
            return b"1"
        del self.remote_streams[exec_id]
        return b""

    def stop(self, exec_id: str, reason: str) -> None:
        """The hub that asked no longer waits."""
        found = self.remote_streams.pop(exec_id, None)
        if found is not None:
            found[0].cancel(reason)

    def output(self, message: peers.ExecOutput) -> None:
        """Output of a command that another hub runs for us."""
        execution = self.running.get(message.exec_id)
        if execution is not None:
            execution.on_output(message.channel, message.data)

    def end(self, message: peers.ExecEnd) -> None:
        """Its end."""
        execution = self.running.get(message.exec_id)
        if execution is not None:
            execution.on_result(message.return_code, message.reason, message.message)

    def hub_left(self, hub: str) -> None:
        """Commands it ran for us have lost their link; those we ran for it have nobody who waits."""
        for exec_id, address in list(self._elsewhere.items()):
            if address == hub and exec_id in self.running:
                self.running[exec_id].on_result(-1, "hub_died", "")
        for exec_id, (_, address) in list(self.remote_streams.items()):
            if address == hub:
                self.stop(exec_id, "cancelled")

    def to_hub(self, hub: str, message: peers.PeerMessage) -> None:
        """Tell one hub."""
        self._core.endpoint.send(hub, peers.encode(message))


def _offline() -> Unavailable:
    return Unavailable("device.offline", "the device is not connected", hint="try again when it is online")


class _Stop:
    """How to end a command: by its stream here, or by telling the hub that runs it."""

    def __init__(
        self, *, stream: _ExecStream | None = None, execs: Execs | None = None, hub: str = "", exec_id: str = ""
    ) -> None:
        self._stream = stream
        self._execs = execs
        self._hub = hub
        self._exec_id = exec_id

    def cancel(self, reason: str) -> None:
        if self._stream is not None:
            self._stream.cancel(reason)
        elif self._execs is not None:
            self._execs.to_hub(self._hub, peers.ExecStop(self._exec_id, reason))
