# SPDX-License-Identifier: Apache-2.0
"""Who is who on a link: two pure state machines, one for each side, for signing in and for enrolling.

::

    agent                                   hub
    HELLO (device id or "", nonce)   ──▶
                                     ◀──    CHALLENGE (hub key, nonce, signature)
    signing in:     PROOF            ──▶
                                     ◀──    WELCOME | REFUSED
    enrolling:      ENROL            ──▶
                                     ◀──    ENROLLED | REFUSED

The hub proves itself first, so a token or proof never goes to a stranger. Every signature is Ed25519 over
:func:`signing_bytes`: a domain tag, then each part with its length before it, so no two meanings share bytes.
No clock is involved. Signing, verifying and random bytes come in as callables.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from towline.protocols.link.frames import LinkError, Type, decode_frame
from towline.protocols.link.limits import (
    MAX_FACTS,
    MAX_NAME,
    NONCE_BYTES,
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    VERSION_MAX,
    VERSION_MIN,
)
from towline.protocols.link.messages import (
    Challenge,
    Enrol,
    Enrolled,
    Hello,
    Proof,
    Refused,
    Welcome,
    encode,
    expect,
)

DOMAIN_TAG = b"towline-link-v1"

Sign: TypeAlias = Callable[[bytes], bytes]
"""message → 64 bytes of Ed25519 signature, with the caller's own key."""
Verify: TypeAlias = Callable[[bytes, bytes, bytes], bool]
"""(public key of 32 bytes, message, signature) → whether it holds."""


def signing_bytes(purpose: str, *parts: bytes | str) -> bytes:
    """What is signed: the domain tag, the purpose and every part, each after its length in four bytes."""
    out = bytearray()
    for part in (DOMAIN_TAG, purpose, *parts):
        raw = part.encode() if isinstance(part, str) else part
        out += len(raw).to_bytes(4, "big") + raw
    return bytes(out)


def token_hash(token: str) -> bytes:
    """SHA-256 of an enrolment token: what the hub stores and both sides sign."""
    return hashlib.sha256(token.encode()).digest()


def key_pin(public_key: bytes) -> bytes:
    """SHA-256 of a hub's public key: what the enrolment line carries."""
    return hashlib.sha256(public_key).digest()


def choose_version(theirs: tuple[int, int], ours: tuple[int, int] = (VERSION_MIN, VERSION_MAX)) -> int:
    """The newest version both speak; LinkError ``link.version`` names both ranges."""
    version = min(theirs[1], ours[1])
    if version < max(theirs[0], ours[0]):
        raise LinkError(
            "link.version",
            f"the agent speaks link versions {theirs[0]} to {theirs[1]}, the hub {ours[0]} to {ours[1]}",
            hint="upgrade the older side",
        )
    return version


def _challenge_bytes(hub_id: str, device_id: str, conn: str, agent_nonce: bytes, hub_nonce: bytes) -> bytes:
    return signing_bytes("hub", hub_id, device_id, conn, agent_nonce, hub_nonce)


def _proof_bytes(hub_id: str, device_id: str, conn: str, hub_nonce: bytes, agent_nonce: bytes) -> bytes:
    return signing_bytes("agent", hub_id, device_id, conn, hub_nonce, agent_nonce)


def _enrol_bytes(hub_id: str, conn: str, hub_nonce: bytes, token: str, public_key: bytes) -> bytes:
    return signing_bytes("enrol", hub_id, conn, hub_nonce, token_hash(token), public_key)


def _enrolled_bytes(hub_id: str, device_id: str, workgroup: str, token: bytes, public_key: bytes) -> bytes:
    return signing_bytes("enrolled", hub_id, device_id, workgroup, token, public_key)


# -- the agent's side
# ------------------------------------------------------------------------------------------------

AgentState = Literal["new", "hello", "proof", "done", "refused"]


class _AgentSide:
    """HELLO and CHALLENGE, the same for signing in and enrolling."""

    def __init__(self, hello: Hello, verify: Verify) -> None:
        self.state: AgentState = "new"
        self.refused: Refused | None = None
        self._hello = hello
        self._verify = verify

    def start(self) -> bytes:
        """The HELLO frame."""
        assert self.state == "new"
        self.state = "hello"
        return encode(self._hello)

    def _take_challenge(self, challenge: Challenge) -> None:
        """LinkError ``link.hub_identity`` unless the hub signed our nonce with the key it shows."""
        hello = self._hello
        if not hello.min <= challenge.version <= hello.max:
            raise LinkError("link.version", f"the hub chose link version {challenge.version}, which we do not speak")
        if len(challenge.nonce) != NONCE_BYTES or len(challenge.hub_key) != PUBLIC_KEY_BYTES:
            raise LinkError("link.body", "the hub's nonce or key has a wrong length", where="CHALLENGE")
        message = _challenge_bytes(
            challenge.hub_id, hello.device_id, challenge.connection_id, hello.nonce, challenge.nonce
        )
        if not self._verify(challenge.hub_key, message, challenge.signature):
            raise LinkError("link.hub_identity", "the hub's signature does not match the key it shows")


class AgentHandshake(_AgentSide):
    """Signing in. ``start()``, then ``receive`` each frame and send what it returns, until ``state`` is done
    or refused.

    :param hub_id, hub_key: pinned at enrolment; any other hub is refused with ``link.hub_identity``
    :ivar welcome: what the hub said, once ``state`` is ``done``
    :ivar refused: what the hub or node said, once ``state`` is ``refused``
    """

    def __init__(
        self,
        *,
        device_id: str,
        workgroup: str,
        hub_id: str,
        hub_key: bytes,
        nonce: bytes,
        spool_id: str,
        sign: Sign,
        verify: Verify,
        agent_version: str = "",
        features: Sequence[str] = (),
        facts: dict[str, str] | None = None,
        versions: tuple[int, int] = (VERSION_MIN, VERSION_MAX),
    ) -> None:
        hello = Hello(
            min=versions[0],
            max=versions[1],
            nonce=nonce,
            device_id=device_id,
            workgroup=workgroup,
            spool_id=spool_id,
            agent_version=agent_version,
            features=list(features),
            facts=facts or {},
        )
        super().__init__(hello, verify)
        self.welcome: Welcome | None = None
        self.connection_id = ""
        self._hub_id = hub_id
        self._hub_key = hub_key
        self._sign = sign

    def receive(self, data: bytes) -> bytes | None:
        """Take a frame, give the answer to send, if any. LinkError: close the link."""
        frame = decode_frame(data)
        if frame.type == Type.REFUSED and self.state in ("hello", "proof"):
            self.refused = expect(frame, Refused)
            self.state = "refused"
            return None
        if self.state == "hello":
            challenge = expect(frame, Challenge)
            if challenge.hub_key != self._hub_key or challenge.hub_id != self._hub_id:
                raise LinkError(
                    "link.hub_identity",
                    f"hub {challenge.hub_id!r} is not the one this agent was enrolled with ({self._hub_id!r})",
                    hint="enrol again if the hub was set up anew",
                )
            self._take_challenge(challenge)
            self.connection_id = challenge.connection_id
            self.state = "proof"
            message = _proof_bytes(
                challenge.hub_id,
                self._hello.device_id,
                challenge.connection_id,
                challenge.nonce,
                self._hello.nonce,
            )
            return encode(Proof(signature=self._sign(message)))
        if self.state == "proof":
            self.welcome = expect(frame, Welcome)
            self.state = "done"
            return None
        raise LinkError("link.sequence", f"a frame came in state {self.state!r} of signing in")


class AgentEnrolment(_AgentSide):
    """Redeeming a token. Used as :class:`AgentHandshake`; ``enrolled`` is set once ``state`` is ``done``.

    :param pin: SHA-256 of the hub's public key, from the line; any other hub is refused before the token goes
        out
    """

    def __init__(
        self,
        *,
        token: str,
        pin: bytes,
        public_key: bytes,
        nonce: bytes,
        sign: Sign,
        verify: Verify,
        name: str = "",
        agent_version: str = "",
        facts: dict[str, str] | None = None,
        versions: tuple[int, int] = (VERSION_MIN, VERSION_MAX),
    ) -> None:
        hello = Hello(min=versions[0], max=versions[1], nonce=nonce, agent_version=agent_version, facts=facts or {})
        super().__init__(hello, verify)
        self.enrolled: Enrolled | None = None
        self._token = token
        self._pin = pin
        self._public_key = public_key
        self._sign = sign
        self._name = name
        self._hub_id = ""
        self._hub_key = b""

    def receive(self, data: bytes) -> bytes | None:
        """Take a frame, give the answer to send, if any. LinkError: close the link."""
        frame = decode_frame(data)
        if frame.type == Type.REFUSED and self.state in ("hello", "proof"):
            self.refused = expect(frame, Refused)
            self.state = "refused"
            return None
        if self.state == "hello":
            challenge = expect(frame, Challenge)
            if key_pin(challenge.hub_key) != self._pin:
                raise LinkError(
                    "link.hub_identity",
                    "the hub's key is not the one the enrolment line names",
                    hint="copy the whole line again; if it still fails, something stands between you and the hub",
                )
            self._take_challenge(challenge)
            self._hub_id, self._hub_key = challenge.hub_id, challenge.hub_key
            self.state = "proof"
            message = _enrol_bytes(
                challenge.hub_id, challenge.connection_id, challenge.nonce, self._token, self._public_key
            )
            return encode(
                Enrol(
                    token=self._token,
                    public_key=self._public_key,
                    signature=self._sign(message),
                    name=self._name,
                )
            )
        if self.state == "proof":
            self.enrolled = self._take_enrolled(expect(frame, Enrolled))
            self.state = "done"
            return None
        raise LinkError("link.sequence", f"a frame came in state {self.state!r} of enrolling")

    def _take_enrolled(self, enrolled: Enrolled) -> Enrolled:
        message = _enrolled_bytes(
            enrolled.hub_id, enrolled.device_id, enrolled.workgroup, token_hash(self._token), self._public_key
        )
        if (enrolled.hub_id, enrolled.hub_key) != (self._hub_id, self._hub_key) or not self._verify(
            self._hub_key, message, enrolled.signature
        ):
            raise LinkError("link.hub_identity", "the hub's answer to the enrolment is not signed by the hub")
        return enrolled


# -- the hub's side
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Challenged:
    """Send ``data``; the agent claims to be ``device_id`` (empty: it wants to enrol)."""

    data: bytes
    device_id: str


@dataclass(frozen=True, slots=True)
class LoginAsked:
    """The agent answered. Look its public key up, ask :meth:`HubHandshake.proves`, then ``welcome`` or
    ``refuse``.
    """

    hello: Hello


@dataclass(frozen=True, slots=True)
class EnrolAsked:
    """The agent shows a token and proves that it holds the private key. Redeem, then ``enrolled`` or
    ``refuse``.
    """

    token_hash: bytes
    public_key: bytes
    name: str
    hello: Hello


HubEvent: TypeAlias = Challenged | LoginAsked | EnrolAsked
HubState = Literal["new", "challenged", "login", "enrol", "done"]


class HubHandshake:
    """The hub's side of one connection.

    ``receive`` each frame until ``state`` is ``done``; what it returns says what to do. LinkError: send
    ``refuse(error.code, error.message)`` and close.

    :param connection_id: the node's id of the connection, part of what is signed
    :param nonce: 32 fresh random bytes
    """

    def __init__(
        self,
        *,
        hub_id: str,
        hub_key: bytes,
        sign: Sign,
        verify: Verify,
        connection_id: str,
        nonce: bytes,
        features: Sequence[str] = (),
        versions: tuple[int, int] = (VERSION_MIN, VERSION_MAX),
    ) -> None:
        self.state: HubState = "new"
        self.hello: Hello | None = None
        self.version = 0
        self._hub_id = hub_id
        self._hub_key = hub_key
        self._sign = sign
        self._verify = verify
        self._conn = connection_id
        self._nonce = nonce
        self._features = list(features)
        self._versions = versions
        self._proof = b""
        self._enrol: Enrol | None = None

    def receive(self, data: bytes) -> HubEvent:
        """Take a frame of an agent that is not signed in. LinkError: refuse and close."""
        frame = decode_frame(data)
        if self.state == "new":
            return self._take_hello(expect(frame, Hello))
        assert self.hello is not None or self.state == "done"
        if self.state == "challenged" and self.hello is not None:
            if self.hello.device_id:
                self._proof = expect(frame, Proof).signature
                self.state = "login"
                return LoginAsked(self.hello)
            return self._take_enrol(expect(frame, Enrol), self.hello)
        raise LinkError("link.sequence", f"a frame came in state {self.state!r} of the handshake")

    def _take_hello(self, hello: Hello) -> Challenged:
        if len(hello.nonce) != NONCE_BYTES:
            raise LinkError("link.body", f"the nonce has {len(hello.nonce)} bytes, not {NONCE_BYTES}", where="HELLO")
        words = (hello.device_id, hello.workgroup, hello.spool_id, hello.agent_version, *hello.features)
        facts = (*hello.facts, *hello.facts.values())
        if max(map(len, (*words, *facts)), default=0) > MAX_NAME or len(hello.facts) > MAX_FACTS:
            raise LinkError("link.body", f"a word over {MAX_NAME} characters or over {MAX_FACTS} facts", where="HELLO")
        self.version = choose_version((hello.min, hello.max), self._versions)
        self.hello = hello
        self.state = "challenged"
        message = _challenge_bytes(self._hub_id, hello.device_id, self._conn, hello.nonce, self._nonce)
        challenge = Challenge(
            version=self.version,
            hub_id=self._hub_id,
            hub_key=self._hub_key,
            connection_id=self._conn,
            nonce=self._nonce,
            signature=self._sign(message),
        )
        return Challenged(encode(challenge), hello.device_id)

    def _take_enrol(self, enrol: Enrol, hello: Hello) -> EnrolAsked:
        if len(enrol.public_key) != PUBLIC_KEY_BYTES or len(enrol.name) > MAX_NAME:
            raise LinkError("link.body", "the public key or the name has a wrong length", where="ENROL")
        message = _enrol_bytes(self._hub_id, self._conn, self._nonce, enrol.token, enrol.public_key)
        if len(enrol.signature) != SIGNATURE_BYTES or not self._verify(enrol.public_key, message, enrol.signature):
            raise LinkError("link.identity", "the enrolment is not signed by the key it shows")
        self._enrol = enrol
        self.state = "enrol"
        return EnrolAsked(token_hash(enrol.token), enrol.public_key, enrol.name, hello)

    def proves(self, public_key: bytes) -> bool:
        """After LoginAsked: whether the agent holds this device's private key."""
        assert self.state == "login"
        assert self.hello is not None
        message = _proof_bytes(self._hub_id, self.hello.device_id, self._conn, self._nonce, self.hello.nonce)
        return len(self._proof) == SIGNATURE_BYTES and self._verify(public_key, message, self._proof)

    def welcome(
        self,
        *,
        acked: dict[str, int],
        counter: int,
        server_time_us: int,
        heartbeat_s: float,
        silent_s: float,
        name: str = "",
    ) -> bytes:
        """The WELCOME frame; the caller has checked :meth:`proves`."""
        assert self.state == "login"
        self.state = "done"
        return encode(
            Welcome(
                version=self.version,
                acked=acked,
                counter=counter,
                server_time_us=server_time_us,
                heartbeat_s=heartbeat_s,
                silent_s=silent_s,
                features=self._features,
                name=name,
            )
        )

    def enrolled(self, *, device_id: str, workgroup: str, name: str = "") -> bytes:
        """The ENROLLED frame; the agent then closes and signs in on a new connection."""
        assert self.state == "enrol"
        assert self._enrol is not None
        self.state = "done"
        message = _enrolled_bytes(
            self._hub_id, device_id, workgroup, token_hash(self._enrol.token), self._enrol.public_key
        )
        return encode(
            Enrolled(
                device_id=device_id,
                workgroup=workgroup,
                hub_id=self._hub_id,
                hub_key=self._hub_key,
                signature=self._sign(message),
                name=name,
            )
        )

    def refuse(self, code: str, message: str, retry_after_s: float | None = None) -> bytes:
        """The REFUSED frame, in any state; close after it."""
        self.state = "done"
        return encode(Refused(code=code, message=message, retry_after_s=retry_after_s))
