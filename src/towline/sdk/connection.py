# SPDX-License-Identifier: Apache-2.0
"""The plugin's connection to its agent: registers, sends what waits, hands on what comes, and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any

from towline.clock import Clock
from towline.errors import InvalidInput, TowlineError
from towline.protocols.octo.envelope import Name, decode_tree, parse_envelope
from towline.protocols.octo.errors import OctoError, Reason
from towline.protocols.octo.limits import Limits
from towline.protocols.octo.outgoing import epoch_text, signed
from towline.protocols.octo.signature import verify
from towline.sdk.credential import Credential
from towline.sdk.outbox import Outbox, Outgoing
from towline.sdk.websocket import Closed, WebSocket, connect

log = logging.getLogger("towline.sdk")

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 15.0
STABLE_S = 10.0
"""A connection shorter than this does not reset the backoff."""
REPLACED, REVOKED = 4000, 4001
"""Close codes of the agent: a newer connection of this plugin registered; its key is no longer valid."""
GIVEN_UP_S = 60.0
"""The wait after one of them."""
PING_EVERY_S = 30.0
BUDGET_CHECK_S = 5.0
ABOUT_REGISTRATION_S = 5.0
"""An error reply that comes this soon after a registration is taken as being about it."""
LONGEST_AGAIN_S = 60.0

Received = Callable[[Name, dict[str, Any]], None]


class Connection:
    """Keeps one connection alive.

    :param render: the registration's params, asked for at each connect
    :param received: called with each verified message from the agent; whatever it raises is logged and counted
    :ivar refusals: error replies received
    :ivar ignored: messages from the agent that were not taken
    """

    def __init__(
        self,
        credential: Credential,
        url: str,
        *,
        limits: Limits,
        clock: Clock,
        render: Callable[[], dict[str, Any]],
        received: Received,
    ) -> None:
        self.refusals = 0
        self.ignored = 0
        self.registered = asyncio.Event()
        self.outbox = Outbox(limits.calls_per_hour)
        self._credential = credential
        self._url = url
        self._limits = limits
        self._clock = clock
        self._render = render
        self._received = received
        self._socket: WebSocket | None = None
        self._wake = asyncio.Event()
        self._sending = asyncio.Lock()
        self._again_s = 1.0
        self._registered_at: float | None = None
        self._last_complaint = ""

    async def run(self) -> None:
        """Connect, and again after each loss with growing, jittered waits; ends only by cancellation."""
        wait = FIRST_WAIT_S
        while True:
            started = self._clock.monotonic()
            try:
                await self._once()
            except Closed as exc:
                self.complain(f"no connection to {self._url}: {exc}")
                if exc.status in (REPLACED, REVOKED):
                    # A second process with this credential would be thrown out in turn, for ever.
                    await asyncio.sleep(GIVEN_UP_S * random.uniform(0.5, 1.0))
            except (OSError, TimeoutError, TowlineError) as exc:
                self.complain(f"no connection to {self._url}: {exc or type(exc).__name__}")
            if self._clock.monotonic() - started > STABLE_S:
                wait = FIRST_WAIT_S
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(wait * 2, LONGEST_WAIT_S)

    def queue(self, name: Name, params: dict[str, Any]) -> None:
        """Put a message into the outbox; it leaves as soon as connection and budget allow."""
        before = self.outbox.dropped
        self.outbox.put(Outgoing(name, params))
        if self.outbox.dropped > before:
            self.complain("the outbox is full: its oldest messages are dropped")
        self._wake.set()

    def register_again(self) -> None:
        """Send the registration anew on the open connection."""
        if self._socket is not None:
            self._registered_at = self._clock.monotonic()
            self.queue(Name.UPDATE, self._render())

    async def flush(self) -> None:
        """Send all that connection and budget allow."""
        async with self._sending:
            while self._socket is not None and self.registered.is_set():
                item = self.outbox.take(self._clock.now_us())
                if item is None:
                    return
                try:
                    await self._write(item.name, item.params)
                except Closed:
                    self.outbox.put_back(item)
                    return
                except OctoError as exc:
                    log.error("a message was not sent: %s", exc)

    def complain(self, text: str, error: Exception | None = None) -> None:
        """Log a warning, or an ``error`` with its traceback; a fault that repeats is logged once."""
        if text != self._last_complaint:
            log.log(logging.WARNING if error is None else logging.ERROR, "%s", text, exc_info=error)
        self._last_complaint = text

    async def _once(self) -> None:
        socket = await connect(self._url, max_message=self._limits.max_frame_bytes)
        self._socket = socket
        helpers: list[asyncio.Task[None]] = []
        try:
            await self._register()
            self.registered.set()
            log.info("registered at %s", self._url)
            helpers += [asyncio.create_task(self._send_loop()), asyncio.create_task(self._ping_loop(socket))]
            while True:
                self._take(await socket.receive())
        finally:
            self._socket = None
            self.registered.clear()
            for task in helpers:
                task.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await socket.close()

    async def _register(self) -> None:
        if not self.outbox.spend(self._clock.now_us()):
            raise InvalidInput("sdk.budget", f"over {self._limits.calls_per_hour} calls in an hour")
        self._registered_at = self._clock.monotonic()
        await self._write(Name.UPDATE, self._render())

    async def _send_loop(self) -> None:
        while True:
            self._wake.clear()
            await self.flush()
            with contextlib.suppress(TimeoutError):  # the budget frees up with time alone
                await asyncio.wait_for(self._wake.wait(), BUDGET_CHECK_S)

    async def _ping_loop(self, socket: WebSocket) -> None:
        while True:
            await asyncio.sleep(PING_EVERY_S)
            before = socket.pongs
            await socket.ping()
            await asyncio.sleep(PING_EVERY_S / 2)
            if socket.pongs == before:
                self.complain("the agent does not answer pings")
                socket.abort()
                return

    async def _write(self, name: Name, params: dict[str, Any]) -> None:
        body = {**params, "epoch": epoch_text(self._clock.now_us())}
        text = signed(name, body, self._credential.access_key)
        size, limit = len(text.encode()), self._limits.max_bytes(name)
        if size > limit:
            raise OctoError(Reason.SIZE, f"{name} has {size} bytes with its signature; at most {limit}")
        if self._socket is not None:
            await self._socket.send(text)

    def _take(self, message: str | bytes) -> None:
        try:
            self._read(message)
        except OctoError as exc:
            self.ignored += 1
            self.complain(f"ignored a message from the agent: {exc}")
        except Exception as exc:  # one message, ours or the agent's fault, must not end the plugin
            self.ignored += 1
            self.complain(f"a message from the agent could not be handled: {type(exc).__name__}: {exc}", exc)

    def _read(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            raise OctoError(Reason.BINARY, "it is binary")
        data = message.encode()
        tree = decode_tree(data)
        if isinstance(tree, dict) and "error" in tree:
            self._refused(tree["error"])
            return
        envelope = parse_envelope(data)
        verify(data, self._credential.access_key)
        guid = str(envelope.params.get("appGUID", self._credential.app_guid)).lower()
        if guid != self._credential.app_guid:
            raise OctoError(Reason.BINDING, "is not for this plugin", where="$.params.appGUID")
        self._received(envelope.name, envelope.params)

    def _refused(self, error: Any) -> None:
        code, text = (error.get("code"), error.get("message")) if isinstance(error, dict) else (None, error)
        self.refusals += 1
        self.complain(f"the agent refused a message ({code}): {text}")
        # Replies name no message. Without a registration the agent takes nothing else, so one that may be about it
        # is sent again, ever less often.
        at = self._registered_at
        if at is None or self._clock.monotonic() - at > ABOUT_REGISTRATION_S:
            return
        self._registered_at = None
        asyncio.get_running_loop().call_later(self._again_s, self.register_again)
        self._again_s = min(self._again_s * 2, LONGEST_AGAIN_S)
