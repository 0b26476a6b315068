# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.protocols.link.keys import Key, verify
from towline.agent import keyring
from towline.agent.identity import KEY_FILE, NEXT_KEY_FILE, device_key
from towline.agent.keyring import KeyRing
from towline.clock import ManualClock
from towline.protocols.link import keychange
from towline.protocols.link.frames import LinkError
from towline.protocols.link.keychange import LinkName
from towline.protocols.link.messages import KeyChange, KeyChanged

HUB = Key(1)
LINK = LinkName("hub", "device", "77")
DAY_US = 86_400_000_000


@pytest.fixture
def clock(tmp_path: Path) -> ManualClock:
    device_key(tmp_path)
    return ManualClock((tmp_path / KEY_FILE).stat().st_mtime_ns // 1000)


def ring(data: Path, clock: ManualClock, days: int = 90) -> KeyRing:
    return KeyRing(data, clock, days=days)


async def due(data: Path, clock: ManualClock) -> tuple[KeyRing, KeyChange]:
    clock.advance(90 * 86_400)
    keys = ring(data, clock)
    asked = await keys.ask(LINK)
    assert asked is not None
    return keys, asked


async def test_a_key_is_changed_when_its_days_are_over(tmp_path: Path, clock: ManualClock) -> None:
    keys = ring(tmp_path, clock)
    old = keys.key.public
    assert await keys.ask(LINK) is None
    clock.advance(90 * 86_400 - 1)
    assert await keys.ask(LINK) is None
    clock.advance(1)
    asked = await keys.ask(LINK)
    assert asked is not None
    keychange.check_ask(LINK, asked, verify)
    assert (tmp_path / NEXT_KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert keys.signer.public == old
    await keys.answered(LINK, keychange.confirm(LINK, asked.public_key, HUB.sign), HUB.public)
    assert keys.signer.public == asked.public_key == device_key(tmp_path).public != old
    assert not (tmp_path / NEXT_KEY_FILE).exists()
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert await keys.ask(LINK) is None
    clock.advance(90 * 86_400)
    assert await keys.ask(LINK) is not None


async def test_never_and_a_key_from_the_future(tmp_path: Path, clock: ManualClock) -> None:
    clock.advance(5000 * 86_400)
    assert await ring(tmp_path, clock, days=0).ask(LINK) is None
    ahead = (clock.now_us() + 3 * DAY_US) * 1000
    os.utime(tmp_path / KEY_FILE, ns=(ahead, ahead))
    assert await ring(tmp_path, clock).ask(LINK) is not None


async def test_what_was_begun_goes_on_with_the_same_key(tmp_path: Path, clock: ManualClock) -> None:
    _, asked = await due(tmp_path, clock)
    again = await ring(tmp_path, clock).ask(LinkName("hub", "device", "78"))
    assert again is not None
    assert again.public_key == asked.public_key


async def test_a_refused_sign_in_tries_the_other_key_once(tmp_path: Path, clock: ManualClock) -> None:
    keys, asked = await due(tmp_path, clock)
    old = keys.key.public
    assert keys.refused()
    assert keys.signer.public == asked.public_key
    assert not keys.refused()  # neither: wait, then begin with the first again
    assert keys.signer.public == old
    await keys.proved()
    assert keys.pending
    assert keys.refused()
    await keys.proved()
    assert keys.signer.public == asked.public_key == device_key(tmp_path).public
    assert not keys.pending
    assert not keys.refused()


async def test_answers_that_change_nothing(tmp_path: Path, clock: ManualClock) -> None:
    keys, asked = await due(tmp_path, clock)
    await keys.answered(LINK, keychange.confirm(LINK, Key(9).public, HUB.sign), HUB.public)
    with pytest.raises(LinkError, match="not confirmed"):
        await keys.answered(LINK, keychange.confirm(LINK, asked.public_key, Key(9).sign), HUB.public)
    await keys.answered(LINK, KeyChanged(public_key=asked.public_key, code="link.key_change"), HUB.public)
    assert keys.pending
    await keys.answered(LINK, KeyChanged(public_key=asked.public_key, code="device.key_exists"), HUB.public)
    assert not keys.pending
    fresh = await keys.ask(LINK)
    assert fresh is not None
    assert fresh.public_key != asked.public_key


async def test_a_disk_that_refuses(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(keyring, "next_key", full)
        clock.advance(90 * 86_400)
        keys = KeyRing.__new__(KeyRing)
        patch.setattr(KeyRing, "_begun", lambda self: None)
        KeyRing.__init__(keys, tmp_path, clock, days=90)
        assert await keys.ask(LINK) is None
    asked = await keys.ask(LINK)
    assert asked is not None
    with monkeypatch.context() as patch:
        patch.setattr(keyring, "use_next_key", full)
        await keys.answered(LINK, keychange.confirm(LINK, asked.public_key, HUB.sign), HUB.public)
    assert keys.signer.public == asked.public_key
    again = await keys.ask(LINK)  # asks for the key it has, and so ends what was begun
    assert again is not None
    assert again.public_key == asked.public_key
    await keys.answered(LINK, keychange.confirm(LINK, asked.public_key, HUB.sign), HUB.public)
    assert device_key(tmp_path).public == asked.public_key


def test_a_damaged_next_key_is_begun_anew(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / NEXT_KEY_FILE).write_bytes(b"half")
    assert not ring(tmp_path, clock).pending
    assert not (tmp_path / NEXT_KEY_FILE).exists()
