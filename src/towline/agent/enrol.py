# SPDX-License-Identifier: Apache-2.0
"""Redeeming an enrolment line: one connection, after which the device has a name at the hub."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from towline import __version__
from towline.agent.identity import Identity, device_key, save_identity, verify
from towline.agent.platform import facts
from towline.agent.tls import client_context, fetch_authority
from towline.agent.wire import dial
from towline.clock import Clock
from towline.errors import Refused, Unavailable
from towline.protocols.link.enrolment import parse_line
from towline.protocols.link.frames import Priority
from towline.protocols.link.handshake import AgentEnrolment
from towline.protocols.link.limits import HANDSHAKE_S, NONCE_BYTES


async def redeem(data: Path, line: str, clock: Clock, *, name: str = "", server: str = "") -> Identity:
    """Redeem ``line`` with this agent's key and keep the identity.

    Doing it again with the same line and key gives the same device.

    :param server: another address for the link than the line's
    :raises InvalidInput: ``enrol.line``
    :raises Refused: the hub's code (a token that is unknown, used or too old), ``link.plaintext``,
    ``link.certificate``
    :raises Unavailable: ``link.unreachable``, or the hub's code if trying again can help
    :raises LinkError: the other side is not the hub of the line
    """
    parsed = parse_line(line)
    url = server or parsed.url
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
