# SPDX-License-Identifier: Apache-2.0
"""A socket of the push API, until it is gone: the node hears of us, and we notice when it does not answer any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import picows

log = logging.getLogger("towline.client")

MISSED = 2
"""Pings in a row without anything from the node, not even their ``pong``, after which its connection counts as lost: a machine
that vanished, or a network that was cut, closes nothing."""


async def keep_alive(transport: picows.WSTransport, ping_s: float, heard: Callable[[], bool]) -> None:
    """Return when the socket is gone, or is to be given up.

    :param heard: whether something came since it was asked last
    """
    lost = asyncio.ensure_future(transport.wait_disconnected())
    missed = 0
    try:
        while True:
            await asyncio.wait((lost,), timeout=ping_s)
            if lost.done():
                break
            missed = 0 if heard() else missed + 1
            if missed > MISSED:
                log.info("the node does not answer", extra={"silent_s": round(missed * ping_s)})
                return
            transport.send(picows.WSMsgType.TEXT, b"ping")
        if not lost.cancelled():
            lost.exception()
    finally:
        lost.cancel()
