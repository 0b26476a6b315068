# SPDX-License-Identifier: Apache-2.0
"""The device's key and the one that follows it.

Changing keys, each step lasting before the next: (1) ``agent.key.next`` is written; (2) the hub is asked, on a link that
the present key signed in; (3) the hub stores the new key and says so, signed; (4) ``agent.key.next`` takes the place of
``agent.key``. Whoever is killed in between has one of the two keys that the hub knows: a sign-in that is refused for its
key is tried with the other, and one that succeeds with the next key ends step 4. The next key is never thrown away while
the hub might have stored it; a later attempt asks with the same one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from pathlib import Path

from towline.agent.identity import (
    DeviceKey,
    device_key,
    drop_next_key,
    key_made_us,
    next_key,
    use_next_key,
    verify,
)
from towline.clock import US_PER_SECOND, Clock
from towline.errors import StartError
from towline.protocols.link import keychange
from towline.protocols.link.keychange import LinkName
from towline.protocols.link.messages import KeyChange, KeyChanged

log = logging.getLogger("towline.agent.keys")

_DAY_US = 86_400 * US_PER_SECOND
_EXISTS = "device.key_exists"


class KeyRing:
    """At most two keys of a device. Files are written beside the event loop.

    :param days: the setting ``key_days``
    :ivar key: the one to sign in with
    :ivar counters: ``asked``, ``changed``, ``refused``, ``failed``, ``other_key``
    :raises StartError: ``agent.key``
    """

    def __init__(self, data: Path, clock: Clock, *, days: int) -> None:
        self.counters: Counter[str] = Counter()
        self.key = device_key(data)
        self._data = data
        self._next = self._begun()
        self._clock = clock
        self._days = days
        self._tries_next = False

    @property
    def pending(self) -> bool:
        """Whether a change was begun and not ended."""
        return self._next is not None

    @property
    def signer(self) -> DeviceKey:
        """The key to sign in with now."""
        return self._next if self._tries_next and self._next is not None else self.key

    def refused(self) -> bool:
        """The hub did not take :attr:`signer`. True: try at once with the other one."""
        if self._next is None:
            return False
        self._tries_next = not self._tries_next
        if self._tries_next:
            self.counters["other_key"] += 1
        return self._tries_next

    async def proved(self) -> None:
        """The hub took :attr:`signer`."""
        if self._tries_next:
            await self._use_next()

    async def ask(self, link: LinkName) -> KeyChange | None:
        """What to ask the hub for, if it is time. Nothing is lost by asking again."""
        if not self._days or (self._next is None and not self._due()):
            return None
        try:
            self._next = await asyncio.to_thread(next_key, self._data, make=True)
        except (OSError, StartError) as error:
            self.counters["failed"] += 1
            log.warning("the key cannot be changed now: %s", error)
            return None
        assert self._next is not None
        self.counters["asked"] += 1
        return keychange.ask(link, self._next.public, self._next.sign)

    async def answered(self, link: LinkName, answer: KeyChanged, hub_key: bytes) -> None:
        """LinkError ``link.hub_identity``: it was not the hub that said so."""
        if self._next is None or answer.public_key != self._next.public:
            return
        if answer.code:
            self.counters["refused"] += 1
            log.warning("the hub did not take the new key: %s", answer.message, extra={"code": answer.code})
            if answer.code == _EXISTS:  # it is, or was, the key of another device; ours it cannot become
                self._next = None
                await asyncio.to_thread(drop_next_key, self._data)
            return
        keychange.check_answer(link, answer, hub_key, verify)
        await self._use_next()

    def restart(self) -> None:
        """The device was enrolled anew, with :attr:`key`."""
        self._tries_next = False

    def _begun(self) -> DeviceKey | None:
        try:
            return next_key(self._data, make=False)
        except StartError as error:  # of no use to anyone
            log.warning("a change of the key starts anew: %s", error)
            drop_next_key(self._data)
            return None

    def _due(self) -> bool:
        try:
            age = self._clock.now_us() - key_made_us(self._data)
        except OSError:
            return False
        # A key from the future was made when the clock was wrong: its age is unknown.
        return not -_DAY_US <= age < self._days * _DAY_US

    async def _use_next(self) -> None:
        assert self._next is not None
        self.key, self._next, self._tries_next = self._next, None, False
        try:
            await asyncio.to_thread(use_next_key, self._data, self._clock.now_us())
        except OSError as error:  # the next start finds both files, and the right one by trying
            self.counters["failed"] += 1
            log.warning("the new key cannot take the old one's place yet: %s", error)
            return
        self.counters["changed"] += 1
        log.info("this device has a new key")
