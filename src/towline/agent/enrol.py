# SPDX-License-Identifier: Apache-2.0
"""Redeeming an enrolment line: one connection, after which the device has a name at the hub."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from pathlib import Path

from towline import __version__
from towline.agent.files import prepare_directory
from towline.agent.identity import Identity, device_key, load_identity, save_identity, verify
from towline.agent.platform import facts
from towline.agent.settings import AgentSettings
from towline.agent.tls import client_context, fetch_authority
from towline.agent.wire import dial
from towline.clock import Clock
from towline.errors import Conflict, Refused, TowlineError, Unavailable
from towline.protocols.link.enrolment import parse_line
from towline.protocols.link.frames import Priority
from towline.protocols.link.handshake import AgentEnrolment
from towline.protocols.link.limits import HANDSHAKE_S, NONCE_BYTES

log = logging.getLogger("towline.agent")

DEFAULT_DATA = "./towline-data/agent"
_RETRY_S = 0.25
_DISK_RETRY_S = 2.0


def data_directory(settings: AgentSettings) -> Path:
    """Where the agent of these settings keeps its files."""
    return Path(settings.data or DEFAULT_DATA).expanduser().absolute()


async def redeem(data: Path, line: str, clock: Clock, *, name: str = "", server: str = "") -> Identity:
    """Redeem ``line`` with this agent's key and keep the identity.

    Doing it again with the same line and key gives the same device.

    :param server: another address for the link than the line's; of several the first
    :raises InvalidInput: ``enrol.line``
    :raises Refused: the hub's code (a token that is unknown, used or too old), ``link.plaintext``,
    ``link.certificate``
    :raises Unavailable: ``link.unreachable``, or the hub's code if trying again can help
    :raises LinkError: the other side is not the hub of the line
    """
    parsed = parse_line(line)
    url = server.partition(",")[0].strip() or parsed.url
    key = device_key(data)
    ca_pem = await fetch_authority(url, parsed.ca) if parsed.ca is not None and url.startswith("wss:") else ""
    context = client_context(url, ca_pem)
    wire = await dial(url, context)
    machine = facts()
    enrolment = AgentEnrolment(
        token=parsed.token,
        pin=parsed.pin,
        public_key=key.public,
        nonce=secrets.token_bytes(NONCE_BYTES),
        sign=key.sign,
        verify=verify,
        name=name or machine["hostname"],
        agent_version=__version__,
        facts=machine,
    )
    failure: list[Exception] = []
    done = asyncio.Event()

    def on_frame(frame: bytes) -> None:
        try:
            answer = enrolment.receive(frame)
        except Exception as error:
            failure.append(error)
            done.set()
            return
        if answer is not None:
            wire.send(answer, Priority.CONTROL)
        if enrolment.state in ("done", "refused"):
            done.set()

    wire.on_frame = on_frame
    wire.send(enrolment.start(), Priority.CONTROL)
    closed = asyncio.ensure_future(wire.closed.wait())
    waited = asyncio.ensure_future(done.wait())
    try:
        await asyncio.wait({closed, waited}, timeout=HANDSHAKE_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        closed.cancel()
        waited.cancel()
        reason = wire.reason
        wire.close("enrolled")
    if failure:
        raise failure[0]
    if enrolment.refused is not None:
        refused = enrolment.refused
        if refused.retry_after_s is not None:
            raise Unavailable(refused.code, refused.message)
        raise Refused(refused.code, refused.message)
    if enrolment.enrolled is None:
        raise Unavailable("link.unreachable", f"{url} ended the enrolment: {reason}")
    got = enrolment.enrolled
    identity = Identity(
        device_id=got.device_id,
        workgroup=got.workgroup,
        hub_id=got.hub_id,
        hub_key=got.hub_key,
        url=parsed.url,
        name=got.name,
        ca_pem=ca_pem,
        enrolled_us=clock.now_us(),
    )
    save_identity(data, identity)
    return identity


async def enrol(settings: AgentSettings, line: str, clock: Clock) -> Identity:
    """Redeem an enrolment line for the agent of ``settings``; it may be running, and then signs in by itself.

    Conflict ``agent.enrolled`` if the device is enrolled already; else as :func:`redeem`.
    """
    data = data_directory(settings)
    prepare_directory(data)
    known = load_identity(data)
    if known is not None:
        raise Conflict(
            "agent.enrolled",
            f"this device is enrolled already, as {known.device_id} of workgroup {known.workgroup}",
            where=str(data),
            hint="to enrol it anew, stop the agent and remove identity.json there",
        )
    return await redeem(data, line, clock, name=settings.name, server=settings.server)


class EnrolFile:
    """The line in the file of the setting ``enrol_file``: redeemed once, then removed."""

    def __init__(self, settings: AgentSettings, data: Path, clock: Clock) -> None:
        self._settings = settings
        self._data = data
        self._clock = clock
        self._path = Path(settings.enrol_file) if settings.enrol_file else None
        self._refused = ""

    async def redeem(self) -> Identity | None:
        """The new identity; None if there is no line, the hub cannot be reached yet, or it refused this line before."""
        line = self._read()
        if not line or line == self._refused:
            return None
        settings = self._settings
        try:
            identity = await redeem(self._data, line, self._clock, name=settings.name, server=settings.server)
        except Unavailable as error:
            log.debug("cannot enrol yet: %s", error)
            await asyncio.sleep(_RETRY_S)
            return None
        except TowlineError as error:
            log.error("the line in %s cannot be redeemed: %s", self._path, error)
            self._refused = line
            return None
        except OSError as error:  # the disk; the same line with the same key gives the same answer again
            log.error("the enrolment cannot be kept: %s", error)
            await asyncio.sleep(_DISK_RETRY_S)
            return None
        log.info("enrolled", extra={"device": identity.device_id, "workgroup": identity.workgroup})
        self._remove()
        return identity

    def _read(self) -> str:
        try:
            return self._path.read_text("utf-8").strip() if self._path else ""
        except (OSError, UnicodeDecodeError):
            return ""

    def _remove(self) -> None:
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
