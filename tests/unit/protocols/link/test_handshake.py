# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import msgspec
import pytest

from tests.unit.protocols.link.keys import Key, verify
from towline.protocols.link.frames import LinkError, decode_frame
from towline.protocols.link.handshake import (
    AgentEnrolment,
    AgentHandshake,
    Challenged,
    EnrolAsked,
    HubHandshake,
    LoginAsked,
    choose_version,
    key_pin,
    signing_bytes,
    token_hash,
)
from towline.protocols.link.messages import Challenge, Enrol, Hello, Proof, decode_body, encode

HUB, AGENT, OTHER = Key(1), Key(2), Key(3)
TOKEN = "t" * 32


def agent(**changes: object) -> AgentHandshake:
    arguments: dict[str, object] = {
        "device_id": "device",
        "workgroup": "home",
        "hub_id": "hub",
        "hub_key": HUB.public,
        "nonce": b"a" * 32,
        "spool_id": "spool",
        "sign": AGENT.sign,
        "verify": verify,
        "facts": {"hostname": "box"},
    }
    return AgentHandshake(**(arguments | changes))  # type: ignore[arg-type]


def enrolment(**changes: object) -> AgentEnrolment:
    arguments: dict[str, object] = {
        "token": TOKEN,
        "pin": key_pin(HUB.public),
        "public_key": AGENT.public,
        "nonce": b"a" * 32,
        "sign": AGENT.sign,
        "verify": verify,
        "name": "box",
    }
    return AgentEnrolment(**(arguments | changes))  # type: ignore[arg-type]


def hub(key: Key = HUB, conn: str = "77", nonce: bytes = b"h" * 32) -> HubHandshake:
    return HubHandshake(hub_id="hub", hub_key=key.public, sign=key.sign, verify=verify, connection_id=conn, nonce=nonce)


def to_login(one: AgentHandshake, other: HubHandshake) -> LoginAsked:
    challenged = other.receive(one.start())
    assert isinstance(challenged, Challenged)
    assert challenged.device_id == "device"
    proof = one.receive(challenged.data)
    assert proof is not None
    asked = other.receive(proof)
    assert isinstance(asked, LoginAsked)
    return asked


def test_signing_in() -> None:
    one, other = agent(), hub()
    asked = to_login(one, other)
    assert asked.hello.facts == {"hostname": "box"}
    assert other.proves(AGENT.public)
    assert not other.proves(OTHER.public)
    welcome = other.welcome(acked={"live": 4}, counter=9, server_time_us=5, heartbeat_s=5, silent_s=15)
    assert one.receive(welcome) is None
    assert one.state == other.state == "done"
    assert one.connection_id == "77"
    assert one.welcome is not None
    assert (one.welcome.acked, one.welcome.counter) == ({"live": 4}, 9)


def test_an_agent_with_another_key_does_not_prove_itself() -> None:
    one, other = agent(sign=OTHER.sign), hub()
    to_login(one, other)
    assert not other.proves(AGENT.public)


def test_a_proof_for_one_connection_is_no_proof_on_another() -> None:
    one, first, second = agent(), hub(), hub(conn="78")
    hello = one.start()
    challenged = first.receive(hello)
    assert isinstance(challenged, Challenged)
    proof = one.receive(challenged.data)
    assert proof is not None
    second.receive(hello)
    second.receive(proof)
    assert not second.proves(AGENT.public)


@pytest.mark.parametrize("changes", [{"hub_key": OTHER.public}, {"hub_id": "another"}])
def test_the_agent_sends_no_proof_to_a_hub_it_does_not_know(changes: dict[str, object]) -> None:
    one = agent(**changes)
    challenged = hub().receive(one.start())
    assert isinstance(challenged, Challenged)
    with pytest.raises(LinkError) as caught:
        one.receive(challenged.data)
    assert caught.value.code == "link.hub_identity"


def test_a_replayed_challenge_is_refused() -> None:
    challenged = hub().receive(agent(nonce=b"b" * 32).start())
    assert isinstance(challenged, Challenged)
    one = agent()
    one.start()
    with pytest.raises(LinkError, match="signature"):
        one.receive(challenged.data)


@pytest.mark.parametrize(
    ("change", "code"),
    [({"version": 2}, "link.version"), ({"nonce": b""}, "link.body"), ({"hub_key": HUB.public}, "link.hub_identity")],
)
def test_a_challenge_that_breaks_the_rules(change: dict[str, object], code: str) -> None:
    one = agent()
    challenged = hub().receive(one.start())
    assert isinstance(challenged, Challenged)
    challenge = decode_body(decode_frame(challenged.data))
    assert isinstance(challenge, Challenge)
    spoiled = msgspec.structs.replace(challenge, signature=bytes(64), **change)
    with pytest.raises(LinkError) as caught:
        one.receive(encode(spoiled))
    assert caught.value.code == code


def test_the_node_may_refuse_at_once() -> None:
    one = agent()
    one.start()
    assert one.receive(hub().refuse("hub_unavailable", "no hub is living", 3.0)) is None
    assert one.state == "refused"
    assert one.refused is not None
    assert one.refused.retry_after_s == 3.0


def test_enrolling() -> None:
    one, other = enrolment(), hub()
    challenged = other.receive(one.start())
    assert isinstance(challenged, Challenged)
    assert challenged.device_id == ""
    enrol = one.receive(challenged.data)
    assert enrol is not None
    asked = other.receive(enrol)
    assert isinstance(asked, EnrolAsked)
    assert (asked.token_hash, asked.public_key, asked.name) == (token_hash(TOKEN), AGENT.public, "box")
    assert one.receive(other.enrolled(device_id="device", workgroup="home")) is None
    assert one.enrolled is not None
    assert (one.enrolled.device_id, one.enrolled.hub_key) == ("device", HUB.public)


def test_the_token_stays_with_the_agent_when_the_pin_differs() -> None:
    one = enrolment(pin=key_pin(OTHER.public))
    challenged = hub().receive(one.start())
    assert isinstance(challenged, Challenged)
    with pytest.raises(LinkError, match="enrolment line"):
        one.receive(challenged.data)


def test_an_enrolment_needs_the_private_key() -> None:
    one, other = enrolment(sign=OTHER.sign), hub()
    challenged = other.receive(one.start())
    assert isinstance(challenged, Challenged)
    enrol = one.receive(challenged.data)
    assert enrol is not None
    with pytest.raises(LinkError) as caught:
        other.receive(enrol)
    assert caught.value.code == "link.identity"


def test_an_answer_to_the_enrolment_must_be_the_hubs() -> None:
    one, other = enrolment(), hub()
    challenged = other.receive(one.start())
    assert isinstance(challenged, Challenged)
    enrol = one.receive(challenged.data)
    assert enrol is not None
    other.receive(enrol)
    answer = decode_body(decode_frame(other.enrolled(device_id="device", workgroup="home")))
    assert answer is not None
    with pytest.raises(LinkError, match="not signed by the hub"):
        one.receive(encode(msgspec.structs.replace(answer, workgroup="theirs")))


@pytest.mark.parametrize(
    "hello",
    [
        Hello(min=1, max=1, nonce=b"short"),
        Hello(min=1, max=1, nonce=bytes(32), device_id="d" * 500),
        Hello(min=1, max=1, nonce=bytes(32), facts={str(n): "" for n in range(100)}),
        Hello(min=2, max=3, nonce=bytes(32)),
    ],
)
def test_a_hello_that_breaks_the_rules(hello: Hello) -> None:
    with pytest.raises(LinkError):
        hub().receive(encode(hello))


def test_frames_out_of_turn() -> None:
    other = hub()
    with pytest.raises(LinkError, match="PROOF came where HELLO was due"):
        other.receive(encode(Proof(signature=b"")))
    one = agent()
    to_login(one, other)
    with pytest.raises(LinkError) as caught:
        other.receive(encode(Proof(signature=b"")))
    assert caught.value.code == "link.sequence"
    other.welcome(acked={}, counter=1, server_time_us=1, heartbeat_s=5, silent_s=15)
    with pytest.raises(LinkError):
        one.receive(encode(Proof(signature=b"")))


def test_an_enrolment_with_a_bad_key_or_out_of_turn() -> None:
    other = hub()
    other.receive(enrolment().start())
    with pytest.raises(LinkError, match="wrong length"):
        other.receive(encode(Enrol(token=TOKEN, public_key=b"short", signature=bytes(64))))
    one = enrolment()
    one.start()
    one.receive(hub().refuse("enrol.token", "no such token"))
    assert one.state == "refused"
    with pytest.raises(LinkError):
        one.receive(encode(Proof(signature=b"")))


def test_versions_are_chosen_from_the_overlap() -> None:
    assert choose_version((1, 3), (2, 4)) == 3
    assert choose_version((2, 5), (1, 2)) == 2
    with pytest.raises(LinkError, match="1 to 1, the hub 2 to 3"):
        choose_version((1, 1), (2, 3))


def test_parts_of_a_signature_cannot_run_into_each_other() -> None:
    assert signing_bytes("hub", "ab", "c") != signing_bytes("hub", "a", "bc")
    assert signing_bytes("hub", "a") != signing_bytes("agent", "a")
