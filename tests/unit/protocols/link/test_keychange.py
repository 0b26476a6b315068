# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import msgspec
import pytest

from tests.unit.protocols.link.keys import Key, verify
from towline.protocols.link import keychange
from towline.protocols.link.frames import LinkError, Priority, Type, decode_frame, priority_of
from towline.protocols.link.keychange import LinkName
from towline.protocols.link.messages import KeyChanged, encode

HUB, OLD, NEW = Key(1), Key(2), Key(3)
LINK = LinkName("hub", "device", "77")
OTHERS = [LinkName("hub2", "device", "77"), LinkName("hub", "device2", "77"), LinkName("hub", "device", "78")]


def test_the_new_key_signs_and_the_hub_confirms() -> None:
    asked = keychange.ask(LINK, NEW.public, NEW.sign)
    keychange.check_ask(LINK, asked, verify)
    answer = keychange.confirm(LINK, asked.public_key, HUB.sign)
    keychange.check_answer(LINK, answer, HUB.public, verify)


@pytest.mark.parametrize("other", OTHERS)
def test_neither_is_of_use_on_another_link(other: LinkName) -> None:
    with pytest.raises(LinkError, match="not signed by the new key"):
        keychange.check_ask(other, keychange.ask(LINK, NEW.public, NEW.sign), verify)
    with pytest.raises(LinkError, match="not confirmed"):
        keychange.check_answer(other, keychange.confirm(LINK, NEW.public, HUB.sign), HUB.public, verify)


def test_nobody_registers_a_key_that_he_does_not_hold() -> None:
    with pytest.raises(LinkError) as caught:
        keychange.check_ask(LINK, keychange.ask(LINK, NEW.public, OLD.sign), verify)
    assert caught.value.code == "link.identity"
    short = msgspec.structs.replace(keychange.ask(LINK, NEW.public, NEW.sign), public_key=NEW.public[:31])
    with pytest.raises(LinkError, match="wrong length"):
        keychange.check_ask(LINK, short, verify)


def test_only_the_hub_confirms_and_an_ask_is_no_answer() -> None:
    asked = keychange.ask(LINK, NEW.public, NEW.sign)
    for signature in (NEW.sign(b"x"), keychange.confirm(LINK, NEW.public, NEW.sign).signature, asked.signature, b""):
        with pytest.raises(LinkError, match="not confirmed"):
            keychange.check_answer(LINK, KeyChanged(public_key=NEW.public, signature=signature), HUB.public, verify)


def test_it_travels_as_control() -> None:
    frame = decode_frame(encode(keychange.ask(LINK, NEW.public, NEW.sign)))
    assert frame.type == Type.KEY_CHANGE
    assert priority_of(frame.type, frame.stream) == Priority.CONTROL
    assert priority_of(Type.KEY_CHANGED, 0) == Priority.CONTROL
