# SPDX-License-Identifier: Apache-2.0
"""A device's new key: what both sides sign on a link that is signed in.

KEY_CHANGE is signed by the new key, so nobody registers a key that he does not hold; the link itself was signed in with
the old one. KEY_CHANGED is signed by the hub, so no node on the way can make an agent give up a key that still counts.
Both name hub, device and connection: neither is of any use elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from towline.protocols.link.frames import LinkError
from towline.protocols.link.handshake import Sign, Verify, signing_bytes
from towline.protocols.link.limits import PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from towline.protocols.link.messages import KeyChange, KeyChanged

FEATURE = "key_change"
"""In HELLO and WELCOME: this side knows KEY_CHANGE and KEY_CHANGED."""


@dataclass(frozen=True, slots=True)
class LinkName:
    """What a signature of either side names."""

    hub_id: str
    device_id: str
    connection_id: str

    def bytes_for(self, purpose: str, public_key: bytes) -> bytes:
        return signing_bytes(purpose, self.hub_id, self.device_id, self.connection_id, public_key)


def ask(link: LinkName, public_key: bytes, sign: Sign) -> KeyChange:
    """The agent's request; ``sign`` with the new key."""
    return KeyChange(public_key=public_key, signature=sign(link.bytes_for("rotate", public_key)))


def check_ask(link: LinkName, asked: KeyChange, verify: Verify) -> None:
    """The hub's check. LinkError ``link.body``, ``link.identity``: whoever asks does not hold the new key."""
    if len(asked.public_key) != PUBLIC_KEY_BYTES:
        raise LinkError("link.body", "the new public key has a wrong length", where="KEY_CHANGE")
    if len(asked.signature) != SIGNATURE_BYTES or not verify(
        asked.public_key, link.bytes_for("rotate", asked.public_key), asked.signature
    ):
        raise LinkError("link.identity", "the change of the key is not signed by the new key", where="KEY_CHANGE")


def confirm(link: LinkName, public_key: bytes, sign: Sign) -> KeyChanged:
    """The hub's answer once the new key is stored; ``sign`` with the hub's key."""
    return KeyChanged(public_key=public_key, signature=sign(link.bytes_for("rotated", public_key)))


def check_answer(link: LinkName, answer: KeyChanged, hub_key: bytes, verify: Verify) -> None:
    """The agent's check of an answer without a code. LinkError ``link.hub_identity``: the hub did not say so."""
    if not verify(hub_key, link.bytes_for("rotated", answer.public_key), answer.signature):
        raise LinkError("link.hub_identity", "the new key is not confirmed by the hub", where="KEY_CHANGED")
