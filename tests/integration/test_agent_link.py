# SPDX-License-Identifier: Apache-2.0
"""The link itself: TLS, gateways that fall silent, refuse, break or are not ours."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as ws_serve

from tests.helpers import until
from tests.integration.agentworld import CLOCK, World, online, running, settings
from tests.integration.test_agent_hub import eventually
from tests.unit.protocols.link.keys import Key, verify
from towline.agent.daemon import Agent
from towline.agent.enrol import redeem
from towline.agent.identity import Identity, save_identity
from towline.agent.tls import fetch_authority
from towline.errors import Refused, Unavailable
from towline.protocols.link.frames import Type, decode_frame, encode_frame, pong_for
from towline.protocols.link.handshake import Challenged, HubHandshake, LoginAsked
from towline.protocols.link.messages import Bye, Resync, encode

HUB = Key(1)


class Authority:
    """A certificate authority of its own, and a server certificate for localhost."""

    def __init__(self, path: Path) -> None:
        now = datetime.datetime.now(datetime.UTC)
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])

        def build(subject: x509.Name, public: ec.EllipticCurvePublicKey, ca: bool) -> x509.Certificate:
            builder = (
                x509.CertificateBuilder()
                .subject_name(subject)
                .issuer_name(ca_name)
                .public_key(public)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(days=1))
                .not_valid_after(now + datetime.timedelta(days=1))
                .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            )
            if not ca:
                names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
                builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            return builder.sign(ca_key, hashes.SHA256())

        authority = build(ca_name, ca_key.public_key(), True)
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = build(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), key.public_key(), False)
        pem = serialization.Encoding.PEM
        self.file = path / "server.pem"
        self.file.write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + leaf.public_bytes(pem)
            + authority.public_bytes(pem)
        )
        self.fingerprint = hashlib.sha256(authority.public_bytes(serialization.Encoding.DER)).digest()


async def test_over_tls_with_an_authority_named_in_the_line(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with World(tmp_path / "server", tls=authority.file, ca_fingerprint=authority.fingerprint.hex()) as world:
        assert (await world.line()).startswith("wss://localhost:")
        device = await world.enrol(tmp_path / "agent")
        async with running(Agent(settings(tmp_path / "agent"), CLOCK)) as agent:
            await online(agent)
            assert await world.presence(device) == "online"
        url = f"wss://localhost:{world.port}/link/v1"
        with pytest.raises(Refused) as caught:
            await fetch_authority(url, bytes(32))
        assert caught.value.code == "link.certificate"
        # Without the pin the system's authorities decide, and they do not know ours.
        assert agent.identity is not None
        save_identity(tmp_path / "agent", msgspec.structs.replace(agent.identity, ca_pem=""))
        async with running(Agent(settings(tmp_path / "agent"), CLOCK)) as stranger:
            await until(lambda: stranger.link is not None and stranger.link.last_error, what="refusal")
            assert stranger.link is not None
            assert stranger.link.last_error is not None
            assert stranger.link.last_error.code == "link.certificate"
    with pytest.raises(Unavailable):
        await fetch_authority(url, bytes(32))


async def test_an_agent_that_stops_says_goodbye(tmp_path: Path) -> None:
    async with World(tmp_path / "server") as world:
        device = await world.enrol(tmp_path / "agent")
        async with running(Agent(settings(tmp_path / "agent"), CLOCK)) as agent:
            await online(agent)

        async def offline() -> bool:
            return await world.presence(device) == "offline"

        await eventually(offline, what="offline")
        presence = (await world.hub.devices.get(world.actor, device)).presence
        assert presence.cause == "closed_by_agent"


async def test_a_node_that_restarts_is_found_again(tmp_path: Path) -> None:
    async with World(tmp_path / "server") as world:
        device = await world.enrol(tmp_path / "agent")
        async with running(Agent(settings(tmp_path / "agent"), CLOCK)) as agent:
            await online(agent)
            await world.node.close()
            await until(lambda: agent.link is not None and not agent.link.online, what="link down")
            await world.start_node()
            await online(agent, 15.0)
            assert await world.presence(device) == "online"


async def test_a_revoked_device_is_put_out(tmp_path: Path) -> None:
    async with World(tmp_path / "server") as world:
        device = await world.enrol(tmp_path / "agent")
        async with running(Agent(settings(tmp_path / "agent"), CLOCK)) as agent:
            await online(agent)
            await world.hub.devices.delete(world.actor, device)
            await until(lambda: agent.link is not None and not agent.link.online, what="link down")
            await until(lambda: agent.link is not None and agent.link.counters["refused"] >= 1, what="refused")


# -- gateways made for the occasion --------------------------------------------------------------------------------


Behaviour = Callable[["Gateway", ServerConnection], Awaitable[None]]


class Gateway:
    """A gateway and hub in one that signs agents in and then behaves as told."""

    def __init__(self, behaviour: Behaviour, *, hub: Key = HUB) -> None:
        self.behaviour = behaviour
        self.hub = hub
        self.port = 0
        self.links = 0
        self.spools: list[str] = []
        self.frames: list[int] = []
        self.acked: dict[str, int] = {}

    async def handle(self, socket: ServerConnection) -> None:
        self.links += 1
        with contextlib.suppress(Exception):
            await self.behaviour(self, socket)

    async def sign_in(self, socket: ServerConnection) -> None:
        side = HubHandshake(
            hub_id="hub",
            hub_key=self.hub.public,
            sign=self.hub.sign,
            verify=verify,
            connection_id=str(self.links),
            nonce=bytes([self.links % 256]) * 32,
        )
        while True:
            data = await socket.recv()
            assert isinstance(data, bytes)
            event = side.receive(data)
            if isinstance(event, Challenged):
                await socket.send(event.data)
            elif isinstance(event, LoginAsked):
                self.spools.append(event.hello.spool_id)
                await socket.send(
                    side.welcome(acked=self.acked, counter=self.links, server_time_us=1, heartbeat_s=0.1, silent_s=1.0)
                )
                return

    async def answer(self, socket: ServerConnection) -> None:
        """Answer pings until the end."""
        async for data in socket:
            assert isinstance(data, bytes)
            frame = decode_frame(data)
            self.frames.append(frame.type)
            if frame.type == Type.PING:
                await socket.send(pong_for(data))


@contextlib.asynccontextmanager
async def gateway(behaviour: Behaviour, hub: Key = HUB) -> AsyncIterator[Gateway]:
    made = Gateway(behaviour, hub=hub)
    async with ws_serve(made.handle, "127.0.0.1", 0, ping_interval=None) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made


def enrolled(path: Path, port: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    url = f"ws://127.0.0.1:{port}/link/v1"
    save_identity(path, Identity(device_id="d", workgroup="w", hub_id="hub", hub_key=HUB.public, url=url))


async def steady(made: Gateway, socket: ServerConnection) -> None:
    await made.sign_in(socket)
    await made.answer(socket)


async def test_a_gateway_that_falls_silent_is_left(tmp_path: Path) -> None:
    async def silent(made: Gateway, socket: ServerConnection) -> None:
        await made.sign_in(socket)
        if made.links > 1:
            await made.answer(socket)
        await socket.wait_closed()

    async with gateway(silent) as made:
        enrolled(tmp_path, made.port)
        async with running(Agent(settings(tmp_path, silent_s=0.5, heartbeat_s=0.1), CLOCK)) as agent:
            await until(lambda: agent.link is not None and agent.link.counters["silent"] == 1, what="silence")
            await until(lambda: made.links == 2, what="second link")
            await online(agent)


async def test_a_refusal_with_a_time_is_tried_again_then(tmp_path: Path) -> None:
    async def busy(made: Gateway, socket: ServerConnection) -> None:
        if made.links == 1:
            side = HubHandshake(
                hub_id="hub", hub_key=HUB.public, sign=HUB.sign, verify=verify, connection_id="1", nonce=bytes(32)
            )
            await socket.recv()
            await socket.send(side.refuse("hub_unavailable", "no hub is living", 0.1))
            return
        await steady(made, socket)

    async with gateway(busy) as made:
        enrolled(tmp_path, made.port)
        async with running(Agent(settings(tmp_path), CLOCK)) as agent:
            await online(agent)
            assert agent.link is not None
            assert agent.link.counters["refused"] == 1


async def test_another_hub_gets_no_proof(tmp_path: Path) -> None:
    async with gateway(steady, hub=Key(9)) as made:
        enrolled(tmp_path, made.port)
        async with running(Agent(settings(tmp_path), CLOCK)) as agent:
            await until(lambda: agent.link is not None and agent.link.last_error, what="refusal")
            assert agent.link is not None
            assert agent.link.last_error is not None
            assert agent.link.last_error.code == "link.hub_identity"
            assert made.spools == []


@pytest.mark.parametrize(
    "wrong",
    [b"\xc1", b"{}", bytes(70_000), encode_frame(Type.COMMAND, {"command_id": 5}), encode(Bye(code="x"))],
    ids=["rubbish", "no array", "too long", "wrong body", "goodbye"],
)
async def test_a_gateway_that_talks_nonsense_is_dialled_again(tmp_path: Path, wrong: bytes) -> None:
    async def nonsense(made: Gateway, socket: ServerConnection) -> None:
        await made.sign_in(socket)
        if made.links == 1:
            await socket.send(wrong)
        await made.answer(socket)

    async with gateway(nonsense) as made:
        enrolled(tmp_path, made.port)
        async with running(Agent(settings(tmp_path), CLOCK)) as agent:
            await until(lambda: made.links >= 2, what="second link")
            await online(agent)


async def test_text_and_unknown_frames(tmp_path: Path) -> None:
    async def odd(made: Gateway, socket: ServerConnection) -> None:
        await made.sign_in(socket)
        if made.links == 1:
            await socket.send(encode_frame(99, {"from": "the future"}))
            await socket.send("text")
        await made.answer(socket)

    async with gateway(odd) as made:
        enrolled(tmp_path, made.port)
        async with running(Agent(settings(tmp_path), CLOCK)) as agent:
            await until(lambda: made.links >= 2, what="second link")
            assert agent.link is not None
            assert agent.link.counters["unknown_frames"] == 1


async def test_a_restored_spool_signs_in_again_under_a_new_id(tmp_path: Path) -> None:
    async def knows_more(made: Gateway, socket: ServerConnection) -> None:
        made.acked = {"live": 99} if made.links == 1 else {}
        await steady(made, socket)

    async with gateway(knows_more) as made:
        enrolled(tmp_path, made.port)
        async with running(Agent(settings(tmp_path), CLOCK)) as agent:
            await online(agent)
            assert len(set(made.spools)) == 2
            assert made.spools[-1] == agent.spool.spool_id


async def test_a_resync_sends_the_flight_again(tmp_path: Path) -> None:
    async def handover(made: Gateway, socket: ServerConnection) -> None:
        await made.sign_in(socket)

        async def resync() -> None:
            await until(lambda: made.frames.count(Type.BATCH) == 1, what="first send")
            await socket.send(encode(Resync(reason="another hub")))

        task = asyncio.create_task(resync())
        await made.answer(socket)
        task.cancel()

    from towline.protocols.link.items import Dec, Record

    async with gateway(handover) as made:
        enrolled(tmp_path, made.port)
        async with running(Agent(settings(tmp_path), CLOCK)) as agent:
            await online(agent)
            agent.spool.append("live", [Record("metric", "t", "s", 1, {"n": Dec("1")})])
            await until(lambda: made.frames.count(Type.BATCH) == 2, 5.0, what="second send")


async def test_an_agent_that_cannot_reach_anyone_stops_at_once(tmp_path: Path) -> None:
    enrolled(tmp_path, 9)
    agent = Agent(settings(tmp_path), CLOCK)
    async with running(agent):
        await until(lambda: agent.link is not None and agent.link.last_error, what="no link")
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 2.0
    assert agent.stats()["link.dials"] >= 1


@pytest.mark.parametrize("ca", ["", "." + "A" * 43])
async def test_a_host_that_is_no_name_is_said(tmp_path: Path, ca: str) -> None:
    with pytest.raises(Unavailable, match="cannot reach"):
        await redeem(tmp_path, f"wss://{chr(233) * 70}:1/link/v1#{'t' * 32}.{'A' * 43}{ca}", CLOCK)


async def test_plain_text_off_loopback_is_never_dialled(tmp_path: Path) -> None:
    enrolled(tmp_path, 9)
    agent = Agent(settings(tmp_path, server="ws://192.0.2.1:1/link/v1"), CLOCK)
    async with running(agent):
        await until(lambda: agent.link is not None and agent.link.last_error, what="refusal")
        assert agent.link is not None
        assert agent.link.last_error is not None
        assert agent.link.last_error.code == "link.plaintext"


async def test_no_failure_ends_the_dialling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(steady) as made:
        enrolled(tmp_path, made.port)
        agent = Agent(settings(tmp_path, reconnect_spread_s=0.1), CLOCK)
        go_online, failures = agent.uplink.online, [RuntimeError("a bug"), OSError(28, "No space left on device")]

        async def fails(*arguments: Any) -> None:
            if failures:
                raise failures.pop()
            await go_online(*arguments)

        monkeypatch.setattr(agent.uplink, "online", fails)
        async with running(agent):
            await online(agent)
            assert agent.link is not None
            assert agent.link.counters["failures"] == 2


async def test_enrolling_on_a_full_disk_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with World(tmp_path / "server") as world:
        line = tmp_path / "line"
        line.write_text(await world.line())
        refusals = [OSError(28, "No space left on device")]

        def full(data: Path, identity: Identity) -> None:
            if refusals:
                raise refusals.pop()
            save_identity(data, identity)

        monkeypatch.setattr("towline.agent.enrol.save_identity", full)
        async with running(Agent(settings(tmp_path / "agent", enrol_file=str(line)), CLOCK)) as agent:
            await online(agent)
            assert not refusals
