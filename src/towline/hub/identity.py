# SPDX-License-Identifier: Apache-2.0
"""Who the hub is, and how devices become known: its Ed25519 key, enrolment, the facts that a device tells."""

from __future__ import annotations

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from towline.clock import US_PER_SECOND
from towline.errors import Conflict, InvalidInput, NotFound
from towline.hub import events
from towline.hub.actor import Actor
from towline.hub.core import Core
from towline.hub.views import EnrolmentState, EnrolmentView
from towline.ids import secret_token, uuid7
from towline.protocols.link import keychange
from towline.protocols.link.enrolment import format_line
from towline.protocols.link.handshake import EnrolAsked, HubHandshake, key_pin, token_hash
from towline.protocols.link.messages import Hello
from towline.store.rows import SYSTEM, Device, Enrolment, Facts

_KEY = "hub.identity"
_PURPOSE = "hub identity key"
MAX_NAME = 64
FEATURES = (keychange.FEATURE,)
"""Told in WELCOME: what this hub knows beyond the first link v1."""


class _Stored(msgspec.Struct):
    hub_id: str
    sealed_key: bytes


class Identity:
    """The hub's id and key, one for the whole installation however many hub processes there are."""

    def __init__(self, hub_id: str, private_key: Ed25519PrivateKey) -> None:
        self.hub_id = hub_id
        self._private = private_key
        self.sign = private_key.sign
        self.public_key = private_key.public_key().public_bytes_raw()

    @classmethod
    async def load(cls, core: Core) -> Identity:
        """From the store, made there at the first start. StartError ``secret.wrong`` under another secret.key."""
        settings = core.store.settings
        found = await settings.get(SYSTEM, _KEY)
        if found is None:
            fresh = Ed25519PrivateKey.from_private_bytes(core.random(32))
            now_us = core.clock.now_us()
            value = msgspec.json.encode(
                _Stored(uuid7(now_us, core.random), core.sealer.seal(_PURPOSE, fresh.private_bytes_raw()))
            )
            try:
                found = await settings.put(SYSTEM, _KEY, value, now_us, expected=0)
            except Conflict:  # another hub of this installation was quicker
                found = await settings.get(SYSTEM, _KEY)
                assert found is not None
        stored = msgspec.json.decode(found.value, type=_Stored)
        return cls(stored.hub_id, Ed25519PrivateKey.from_private_bytes(core.sealer.open(_PURPOSE, stored.sealed_key)))

    def handshake(self, core: Core, conn: str) -> HubHandshake:
        """The hub's side of a new link."""
        return HubHandshake(
            hub_id=self.hub_id,
            hub_key=self.public_key,
            sign=self._private.sign,
            verify=verify,
            connection_id=conn,
            nonce=core.random(32),
            features=FEATURES,
        )


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether an Ed25519 signature holds."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def facts_of(hello: Hello, remote: str) -> Facts:
    """What a HELLO tells of agent and machine."""
    facts = hello.facts
    return Facts(
        agent_version=hello.agent_version,
        platform=facts.get("platform") or facts.get("system", ""),
        arch=facts.get("arch", ""),
        hostname=facts.get("hostname", ""),
        os=facts.get("os", ""),
        address=remote,
    )


def check_name(name: str, where: str = "$.name") -> str:
    """A device's or plugin's name: 1–64 visible characters. InvalidInput ``name.invalid``."""
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidInput("name.invalid", f"a name has 1 to {MAX_NAME} visible characters", where=where)
    return name


class Enrolments:
    """One-time invitations for devices."""

    identity: Identity

    def __init__(self, core: Core) -> None:
        self._core = core

    async def create(
        self, actor: Actor, name: str | None = None, ttl_s: int | None = None, link_url: str | None = None
    ) -> EnrolmentView:
        """A new line for ``towline agent enrol LINE``; ``name`` becomes the device's name (else its host name).

        ``ttl_s`` 60–86400, the setting enrolment_seconds when None; ``link_url`` replaces the setting of that name.
        """
        core = self._core
        core.check(actor, "enrolments.create")
        if name is not None:
            name = check_name(name)
        ttl = core.settings.enrolment_seconds if ttl_s is None else ttl_s
        if not 60 <= ttl <= 86_400:
            raise InvalidInput("enrolment.ttl", f"an enrolment lives 60 to 86400 s, not {ttl}", where="$.ttl_s")
        token = secret_token(core.random)
        fingerprint = core.settings.ca_fingerprint.replace(":", "")
        line = format_line(
            link_url or core.settings.link_url,
            token,
            key_pin(self.identity.public_key),
            bytes.fromhex(fingerprint) if fingerprint else None,
        )
        now_us = core.clock.now_us()
        row = await core.store.enrolments.create(
            Enrolment(
                workgroup=actor.workgroup,
                id=uuid7(now_us, core.random),
                token_hash=token_hash(token),
                name=name,
                created_us=now_us,
                created_by=actor.name,
                expires_us=now_us + ttl * US_PER_SECOND,
            )
        )
        await core.audit(actor, "enrolment.create", "enrolment", row.id, name=name, ttl_s=ttl)
        return msgspec.structs.replace(self._view(row, now_us), line=line, token=token)

    async def list(self, actor: Actor) -> list[EnrolmentView]:
        """Newest first, without token and line."""
        self._core.check(actor, "enrolments.list")
        now_us = self._core.clock.now_us()
        return [self._view(row, now_us) for row in await self._core.store.enrolments.list(actor.workgroup)]

    async def revoke(self, actor: Actor, enrolment_id: str) -> None:
        """NotFound ``enrolment.unknown``; Conflict ``enrolment.used`` when a device has redeemed it."""
        core = self._core
        core.check(actor, "enrolments.revoke")
        await core.store.enrolments.revoke(actor.workgroup, enrolment_id, core.clock.now_us())
        await core.audit(actor, "enrolment.revoke", "enrolment", enrolment_id)

    async def redeem(self, asked: EnrolAsked, remote: str) -> Device:
        """What an agent with a token asks. The same key again gets the same answer.

        NotFound ``enrolment.unknown``; Refused ``enrolment.expired``, ``enrolment.revoked``, ``enrolment.used``.
        """
        core = self._core
        now_us = core.clock.now_us()
        facts = facts_of(asked.hello, remote)
        device_id = uuid7(now_us, core.random)
        redeemed = await core.store.enrolments.redeem(
            asked.token_hash,
            asked.public_key,
            device_id,
            self._device_name(asked.name, facts, device_id),
            facts,
            now_us,
        )
        device = redeemed.device
        if redeemed.new:
            core.announce(events.DeviceNew(workgroup=device.workgroup, device_id=device.id, name=device.name))
        actor = msgspec.structs.replace(
            Actor.system(device.workgroup, redeemed.enrolment.created_by or "enrolment"), remote=remote
        )
        await core.audit(
            actor, "device.enrol", "device", device.id, name=device.name, new=redeemed.new, by=redeemed.enrolment.id
        )
        return device

    @staticmethod
    def _device_name(asked: str, facts: Facts, device_id: str) -> str:
        for name in (asked, facts.hostname):
            visible = "".join(letter for letter in name.strip() if letter.isprintable())[:MAX_NAME]
            if visible:
                return visible
        return f"device-{device_id[-6:]}"

    @staticmethod
    def _view(row: Enrolment, now_us: int) -> EnrolmentView:
        state: EnrolmentState = "open"
        if row.device_id:
            state = "used"
        elif row.revoked_us is not None:
            state = "revoked"
        elif now_us >= row.expires_us:
            state = "expired"
        return EnrolmentView(
            id=row.id,
            name=row.name,
            created_us=row.created_us,
            expires_us=row.expires_us,
            state=state,
            device_id=row.device_id,
        )


def unknown_device(device_id: str) -> NotFound:
    """The error for a device that the caller's workgroup does not have."""
    return NotFound("device.unknown", f"there is no device {device_id}")
