# SPDX-License-Identifier: Apache-2.0
"""The link client: dials, signs in, keeps the connection alive, hands frames out, dials again.

Nothing here gives up: whatever goes wrong is logged once for each new reason, and tried again after a wait that grows
and is jittered.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Protocol

from picows import WSCloseCode

from towline import __version__
from towline.agent.identity import Identity, verify
from towline.agent.keyring import KeyRing
from towline.agent.platform import facts
from towline.agent.settings import AgentSettings
from towline.agent.tls import client_context, is_loopback
from towline.agent.uplink import Uplink
from towline.agent.wire import Wire, dial
from towline.clock import Clock
from towline.errors import TowlineError, Unavailable
from towline.protocols.link import keychange
from towline.protocols.link.frames import Frame, LinkError, Priority, Type, decode_frame
from towline.protocols.link.handshake import AgentHandshake
from towline.protocols.link.keychange import LinkName
from towline.protocols.link.lanes import SpoolRolledBack
from towline.protocols.link.limits import HANDSHAKE_S, NONCE_BYTES
from towline.protocols.link.messages import (
    Ack,
    Bye,
    KeyChanged,
    Message,
    Ping,
    Refused,
    Resync,
    Welcome,
    decode_body,
    encode,
)

log = logging.getLogger("towline.agent.link")

FEATURES = ("batch_parts", "exec", keychange.FEATURE, "plugin_keys", "settings")
_STEADY_S = 30.0
"""A link that held this long starts the waits anew."""
_KEY_CHECK_S = 3600.0
_KEY_ANSWER_S = 60.0


class Downlink(Protocol):
    """What the rest of the agent does with the link."""

    def link_up(self, send: Callable[[bytes, Priority], bool]) -> None:
        """Signed in; ``send`` queues a frame, False if it has no room."""
        ...

    def link_down(self, reason: str) -> None:
        """Gone, after :meth:`link_up`."""
        ...

    def resync(self) -> None:
        """Another hub serves the link; streams are over."""
        ...

    def message(self, message: Message, stream: int) -> None:
        """A command, key, setting or stream frame from the hub."""
        ...


class Link:
    """One agent's link.

    :ivar online: signed in now
    :ivar counters: ``dials``, ``welcomes``, ``refused``, ``silent``, ``unknown_frames``, ``bad_frames``,
    ``failures``
    :ivar last_error: why the last attempt failed
    """

    def __init__(
        self,
        settings: AgentSettings,
        identity: Identity,
        keys: KeyRing,
        uplink: Uplink,
        downlink: Downlink,
        clock: Clock,
        *,
        spool_id: Callable[[], str],
        on_rejected: Callable[[TowlineError], Awaitable[Identity | None]] | None = None,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """``on_rejected``: the hub does not know us, or is another; may give a new identity to go on with."""
        self.online = False
        self.counters: Counter[str] = Counter()
        self.last_error: TowlineError | None = None
        self.identity = identity
        self._settings = settings
        self.keys = keys
        self._uplink = uplink
        self._downlink = downlink
        self._clock = clock
        self._spool_id = spool_id
        self._on_rejected = on_rejected
        self._jitter = jitter
        self._heard = 0.0
        self._turn = 0
        self._name = LinkName("", "", "")
        self._answers: asyncio.Queue[KeyChanged] = asyncio.Queue()

    @property
    def url(self) -> str:
        """The address that is dialled, or is dialled next: those that are set take turns."""
        urls = (self._settings.server or self.identity.url).split(",")
        return urls[self._turn % len(urls)].strip()

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``; then says goodbye."""
        attempt = 0
        while not stop.is_set():
            began = self._clock.monotonic()
            retry_after: float | None = None
            try:
                await self._connection(stop)
                attempt = 0 if self._clock.monotonic() - began > _STEADY_S else attempt
            except _RefusedByHub as error:
                self.counters["refused"] += 1
                self._note(error)
                retry_after = error.retry_after_s
                if error.code == "link.identity" and self.keys.refused():
                    continue
                if retry_after is None and await self._rejected(error):
                    continue
                if retry_after is None:
                    attempt = max(attempt, 5)
            except SpoolRolledBack as error:
                self._note(error)
                continue
            except LinkError as error:
                self._note(error)
                if error.code == "link.hub_identity" and await self._rejected(error):
                    continue
                attempt = max(attempt, 3)
            except TowlineError as error:
                self._note(error)
            except Exception as error:
                self.counters["failures"] += 1
                log.exception("the link failed")
                self.last_error = Unavailable("link.failed", f"{type(error).__name__}: {error}")
            self._turn += 1
            await _sleep(self._wait_s(attempt, retry_after), stop)
            attempt += 1

    def _note(self, error: TowlineError) -> None:
        known = self.last_error is not None and self.last_error.code == error.code
        self.last_error = error
        log.log(logging.DEBUG if known else logging.WARNING, "no link: %s", error, extra={"code": error.code})

    def _wait_s(self, attempt: int, retry_after: float | None) -> float:
        limit = self._settings.reconnect_max_s
        if retry_after is not None:
            return min(limit, max(0.0, retry_after)) + self._jitter(0.0, 1.0)
        spread = self._settings.reconnect_spread_s
        if is_loopback(self.url):
            spread = min(spread, 1.0)
        if attempt == 0:
            return min(limit, self._jitter(min(0.1, spread), spread))
        grown = min(limit, max(0.5, spread) * 2.0 ** min(attempt - 1, 16))
        return self._jitter(grown / 2, grown)

    async def _rejected(self, error: TowlineError) -> bool:
        if self._on_rejected is None:
            return False
        identity = await self._on_rejected(error)
        if identity is None:
            return False
        self.identity = identity
        self.keys.restart()
        return True

    # -- one connection -----------------------------------------------------------------------------------------

    async def _connection(self, stop: asyncio.Event) -> None:
        self.counters["dials"] += 1
        try:
            context = client_context(self.url, self.identity.ca_pem)
        except (ssl.SSLError, ValueError) as error:
            raise Unavailable("link.certificate", f"the certificate to trust cannot be read: {error}") from None
        wire = await dial(self.url, context)
        try:
            early: list[bytes] = []  # frames that come before their handlers are ready
            welcome = await self._sign_in(wire, early, stop)
            if welcome is None:
                return
            await self.keys.proved()
            await self._uplink.online(welcome.acked, wire.send)
            self.online = True
            self.counters["welcomes"] += 1
            self.last_error = None
            log.info("link up", extra={"device": self.identity.device_id, "counter": welcome.counter})
            self._downlink.link_up(wire.send)
            changing = asyncio.create_task(self._change_key(wire, welcome), name="link-key")
            try:
                wire.on_frame = lambda frame: self._on_frame(wire, frame)
                for frame in early:
                    self._on_frame(wire, frame)
                await self._keep_alive(wire, welcome, stop)
            finally:
                self.online = False
                changing.cancel()
                self._uplink.offline()
                self._downlink.link_down(wire.reason)
                log.info("link down: %s", wire.reason)
        finally:
            wire.close("done" if not wire.closed.is_set() else wire.reason)

    async def _sign_in(self, wire: Wire, early: list[bytes], stop: asyncio.Event) -> Welcome | None:
        """WELCOME, or None when told to stop. What comes behind WELCOME goes to ``early``."""
        identity = self.identity
        handshake = AgentHandshake(
            device_id=identity.device_id,
            workgroup=identity.workgroup,
            hub_id=identity.hub_id,
            hub_key=identity.hub_key,
            nonce=secrets.token_bytes(NONCE_BYTES),
            spool_id=self._spool_id(),
            sign=self.keys.signer.sign,
            verify=verify,
            agent_version=__version__,
            features=FEATURES,
            facts=facts(),
        )
        finished = asyncio.Event()
        failures: list[LinkError] = []

        def on_frame(frame: bytes) -> None:
            if handshake.state == "done":
                early.append(frame)
                return
            try:
                answer = handshake.receive(frame)
            except LinkError as error:
                failures.append(error)
                finished.set()
                return
            if answer is not None:
                wire.send(answer, Priority.CONTROL)
            if handshake.state in ("done", "refused"):
                finished.set()

        wire.on_frame = on_frame
        wire.send(handshake.start(), Priority.CONTROL)
        await _first(HANDSHAKE_S, finished, wire.closed, stop)
        if failures:
            wire.close("the handshake failed", WSCloseCode.PROTOCOL_ERROR)
            raise failures[0]
        if handshake.refused is not None:
            raise _RefusedByHub(handshake.refused)
        if stop.is_set():
            return None
        if handshake.welcome is None:
            why = wire.reason if wire.closed.is_set() else f"no answer within {HANDSHAKE_S:.0f} s"
            raise Unavailable("link.handshake", f"signing in at {self.url} failed: {why}")
        self._heard = self._clock.monotonic()
        self._name = LinkName(identity.hub_id, identity.device_id, handshake.connection_id)
        return handshake.welcome

    async def _change_key(self, wire: Wire, welcome: Welcome) -> None:
        """Once signed in, and then now and again: whether it is time for a new key."""
        answers: asyncio.Queue[KeyChanged] = asyncio.Queue()
        self._answers = answers
        while keychange.FEATURE in welcome.features:
            asked = await self.keys.ask(self._name)
            if asked is not None:
                wire.send(encode(asked), Priority.CONTROL)
                try:
                    async with asyncio.timeout(_KEY_ANSWER_S):
                        await self.keys.answered(self._name, await answers.get(), self.identity.hub_key)
                except TimeoutError:
                    log.info("the hub did not answer about the new key; it is asked again")
                except LinkError as error:
                    self._note(error)
                    wire.close(str(error), WSCloseCode.PROTOCOL_ERROR)
                    return
            await asyncio.sleep(_KEY_CHECK_S)

    async def _keep_alive(self, wire: Wire, welcome: Welcome, stop: asyncio.Event) -> None:
        heartbeat = min(self._settings.heartbeat_s, max(0.05, welcome.heartbeat_s))
        silent = self._settings.silent_s
        self._heard = self._clock.monotonic()
        while True:
            wire.send(encode(Ping(time_us=self._clock.now_us())), Priority.CONTROL)
            await _first(heartbeat, wire.closed, stop)
            if stop.is_set():
                wire.send(encode(Bye(code="agent.stopped", reason="the agent stops")), Priority.CONTROL)
                wire.close("the agent stops")
                return
            if wire.closed.is_set():
                return
            if self._clock.monotonic() - self._heard >= silent:
                self.counters["silent"] += 1
                wire.abort(f"nothing came for {silent:.0f} s")
                return

    def _on_frame(self, wire: Wire, data: bytes) -> None:
        self._heard = self._clock.monotonic()
        try:
            frame = decode_frame(data)
            if frame.type == Type.PONG:
                return
            message = decode_body(frame)
            if message is None:
                self.counters["unknown_frames"] += 1
                return
            self._dispatch(wire, frame, message)
        except LinkError as error:
            self.counters["bad_frames"] += 1
            log.warning("the hub sent a wrong frame: %s", error)
            wire.close(str(error), WSCloseCode.PROTOCOL_ERROR)

    def _dispatch(self, wire: Wire, frame: Frame, message: Message) -> None:
        match message:
            case Ack():
                self._uplink.on_ack(message)
            case Resync():
                log.info("resync: %s", message.reason)
                self._downlink.resync()
                self._uplink.resync()
            case Refused():
                self.last_error = _RefusedByHub(message)
                log.warning("the hub ends the link: %s", self.last_error)
                wire.close(f"refused: {message.message}")
            case Bye():
                wire.close(f"the gateway says goodbye: {message.reason or message.code}")
            case KeyChanged():
                if self._answers.empty():
                    self._answers.put_nowait(message)
            case _:
                self._downlink.message(message, frame.stream)


class _RefusedByHub(Unavailable):
    """REFUSED came."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.code, refused.message)
        self.retry_after_s = refused.retry_after_s


async def _first(timeout: float, *events: asyncio.Event) -> None:
    """Until one of the events is set, or the time is over."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    await _first(seconds, stop)
