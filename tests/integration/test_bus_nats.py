# SPDX-License-Identifier: Apache-2.0
"""The bus between processes when things break: killed members, a killed server, wrong servers, rubbish."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.helpers import free_port, until
from tests.natsserver import NatsServer
from tests.unit.bus.conftest import TIMING
from tests.unit.bus.recorder import Recorder
from towline.bus import envelope
from towline.bus.base import BusTimeout, BusUnreachable
from towline.bus.nats import NatsBus, NatsEndpoint
from towline.bus.settings import BusSettings, Timing
from towline.clock import SystemClock
from towline.errors import StartError, Unavailable

pytestmark = pytest.mark.needs_nats

MEMBER = """
import asyncio, sys
from tests.unit.bus.conftest import TIMING
from tests.unit.bus.recorder import Recorder
from towline.bus.nats import NatsBus
from towline.clock import SystemClock

async def main():
    bus = NatsBus(sys.argv[1], SystemClock(), timing=TIMING)
    await bus.start()
    endpoint = await bus.open("node", Recorder(), lease_number=True)
    print(endpoint.address, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def server() -> Iterator[NatsServer]:
    server = NatsServer().start()
    yield server
    server.stop()


class Crowd:
    def __init__(self) -> None:
        self.buses: list[NatsBus] = []

    async def bus(self, where: str | BusSettings, timing: Timing = TIMING) -> NatsBus:
        bus = NatsBus(where, SystemClock(), timing=timing)
        await bus.start()
        self.buses.append(bus)
        return bus


@pytest.fixture
async def crowd() -> AsyncIterator[Crowd]:
    crowd = Crowd()
    yield crowd
    for bus in crowd.buses:
        await bus.close()


async def meet(crowd: Crowd, server: NatsServer) -> tuple[NatsEndpoint, Recorder, NatsEndpoint, Recorder]:
    a, b = Recorder(), Recorder()
    node = await (await crowd.bus(server.url)).open("node", a, lease_number=True)
    hub = await (await crowd.bus(server.url)).open("hub", b, events=True)
    await until(lambda: a.joined and b.joined)
    return node, a, hub, b


def spawn(server: NatsServer) -> tuple[subprocess.Popen[bytes], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", MEMBER, server.url], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    return process, process.stdout.readline().decode().strip()


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


async def test_a_killed_process_is_noticed(crowd: Crowd, server: NatsServer) -> None:
    recorder = Recorder()
    hub = await (await crowd.bus(server.url)).open("hub", recorder)
    process, address = await asyncio.to_thread(spawn, server)
    try:
        await until(lambda: recorder.joined)
        call = asyncio.create_task(hub.call(address, b"later never", 30))
        await until(lambda: hub.counters()["calls_sent"])
    finally:
        await asyncio.to_thread(end, process)
    killed = time.monotonic()
    await until(lambda: recorder.left, TIMING.dead + 2)
    assert recorder.left == [(address, "silent")]
    assert TIMING.dead / 2 < time.monotonic() - killed < TIMING.dead + 2
    with pytest.raises(BusTimeout) as caught:
        await call
    assert caught.value.code == "bus.left"
    assert hub.members("node") == []


async def test_a_stopped_process_comes_back(crowd: Crowd, server: NatsServer) -> None:
    recorder = Recorder()
    hub = await (await crowd.bus(server.url)).open("hub", recorder)
    process, address = await asyncio.to_thread(spawn, server)
    try:
        await until(lambda: recorder.joined)
        process.send_signal(signal.SIGSTOP)
        await until(lambda: recorder.left)
        process.send_signal(signal.SIGCONT)
        await until(lambda: len(recorder.joined) == 2)
        assert await hub.call(address, b"well?", 5) == b"WELL?"
        await until(lambda: [member.number for member in hub.members("node")] == [1])
    finally:
        await asyncio.to_thread(end, process)


async def test_a_killed_server_heals_by_itself(crowd: Crowd, server: NatsServer) -> None:
    node, a, hub, b = await meet(crowd, server)
    server.kill()
    await until(lambda: not crowd.buses[0].connected and not crowd.buses[1].connected)
    assert [member.address for member in node.members("hub")] == [hub.address], "a short cut is none"
    began = time.monotonic()
    assert not any(node.send(hub.address, bytes(1000)) for _ in range(1000))
    with pytest.raises(BusUnreachable):
        await node.call(hub.address, b"x", 30)
    hub.announce(b"lost")
    assert time.monotonic() - began < 0.5, "nothing waits"
    assert node.counters()["dropped_unreachable"] == 1001
    with pytest.raises(Unavailable) as caught:
        await crowd.buses[0].open("door", Recorder())
    assert caught.value.code == "bus.unreachable"
    await until(lambda: a.left and b.left)
    assert a.left == [(hub.address, "silent")]
    assert node.members("hub") == []
    server.restart()
    await until(lambda: len(a.joined) == len(b.joined) == 2)
    assert await node.call(hub.address, b"back", 5) == b"BACK"
    hub.announce(b"kept")
    await until(lambda: b.payloads("event") == [b"kept"])
    await until(lambda: node.number == 1, what="the number is there again")


async def test_a_short_cut_is_not_noticed_by_members(crowd: Crowd, server: NatsServer) -> None:
    patient = Timing(beat=0.05, dead=20.0, settle=0.05, backoff=0.02, backoff_max=0.1, renew=0.1)
    a, b = Recorder(), Recorder()
    node = await (await crowd.bus(server.url, patient)).open("node", a)
    hub = await (await crowd.bus(server.url, patient)).open("hub", b)
    await until(lambda: a.joined and b.joined)
    call = asyncio.create_task(node.call(hub.address, b"later never", 30))
    await until(lambda: b.payloads("call"))
    server.kill()
    server.restart()
    await until(lambda: all(bus.link.cuts and bus.connected for bus in crowd.buses))
    assert node.send(hub.address, b"hello again")
    await until(lambda: b.payloads("message"))
    assert len(a.joined) == len(b.joined) == 1
    assert a.left == b.left == []
    call.cancel()


async def test_a_number_is_lost_in_time_and_comes_back(crowd: Crowd, server: NatsServer) -> None:
    node, _, hub, _ = await meet(crowd, server)
    node.note_last_id(5_000_000_000_000)
    assert node.number == 1
    server.kill()
    await until(lambda: node.number == -1, TIMING.lease + 2)
    await until(lambda: node.counters()["number_lost"] == 1)
    server.restart()
    await until(lambda: node.number == 1)
    assert node.last_id_ms == 5_000_000_000_000
    await until(lambda: [member.number for member in hub.members("node")] == [1])


async def test_a_number_that_another_took_is_not_taken_back(crowd: Crowd, server: NatsServer) -> None:
    node, _, _, _ = await meet(crowd, server)
    node.note_last_id(5_000_000_000_000)
    client = await nats.connect(server.url)
    store = await client.jetstream().key_value("towline-towline-numbers")
    await store.put("1", b'{"owner":"somebody","expires_us":9000000000000000,"last_id_ms":1}')
    await client.close()
    await until(lambda: node.number == 2)
    assert node.last_id_ms == 0


async def test_numbers_survive_the_loss_of_their_store(crowd: Crowd, server: NatsServer) -> None:
    node, _, _, _ = await meet(crowd, server)
    client = await nats.connect(server.url)
    await client.jetstream().delete_key_value("towline-towline-numbers")
    await client.close()
    other = await (await crowd.bus(server.url)).open("node", Recorder(), lease_number=True)
    assert other.number == 2, "the number of a living member is not given away"
    assert node.number == 1
    expires = node._lease._expires_us if node._lease else 0
    await until(lambda: node._lease and node._lease._expires_us > expires, what="renewed in the new store")
    assert node.number == 1


async def test_rubbish_and_newer_versions_are_counted(crowd: Crowd, server: NatsServer) -> None:
    node, _, hub, b = await meet(crowd, server)
    client = await nats.connect(server.url)
    inbox = f"towline.towline.inbox.{hub.address}"
    newer = bytearray(envelope.encode(envelope.SEND, node.address, 0, b"x"))
    newer[0] = 9
    await client.publish(inbox, bytes(newer))
    await client.publish(inbox, b"\x01rubbish")
    await client.publish("towline.towline.beat", envelope.encode(envelope.BEAT, "x", 0, b"\xc1"))
    await client.close()
    await until(lambda: hub.counters()["malformed"] >= 2)
    assert hub.counters()["version_refused"] == 1
    assert b.payloads("message") == []
    assert await node.call(hub.address, b"fine", 5) == b"FINE"


async def test_realms_do_not_meet(crowd: Crowd, server: NatsServer) -> None:
    a, b = Recorder(), Recorder()
    one = await (await crowd.bus(BusSettings(url=server.url, realm="one"))).open("node", a, lease_number=True)
    two = await (await crowd.bus(BusSettings(url=server.url, realm="two"))).open("node", b, lease_number=True)
    assert one.number == two.number == 1
    assert a.log == b.log == []
    assert one.members("node") == [one.me()]


async def test_a_slow_receiver_holds_up_nobody_else(crowd: Crowd, server: NatsServer) -> None:
    """The receiver's loop stands still while a sender floods it; a third party's calls go on."""
    process, address = await asyncio.to_thread(spawn, server)
    try:
        node, a, hub, _ = await meet(crowd, server)
        await until(lambda: len(a.joined) == 2)
        process.send_signal(signal.SIGSTOP)
        accepted = sum(node.send(address, bytes(100_000)) for _ in range(2000))
        assert accepted < 2000
        assert node.counters()["dropped_full"] + accepted == 2000
        began = time.monotonic()
        assert await hub.call(hub.address, b"me", 10) == b"ME"
        assert time.monotonic() - began < 5
        await until(lambda: (address, "silent") in a.left)
        assert await node.call(hub.address, b"later", 20) == b"LATER"
    finally:
        await asyncio.to_thread(end, process)


# Start errors


async def refused(settings: BusSettings) -> StartError:
    bus = NatsBus(settings, SystemClock(), timing=Timing(start=2.0))
    with pytest.raises(StartError) as caught:
        await bus.start()
    await bus.close()
    return caught.value


async def test_no_server() -> None:
    port = free_port()
    error = await refused(BusSettings(url=f"nats://me:secret@127.0.0.1:{port}"))
    assert error.code == "bus.server_unreachable"
    assert f"127.0.0.1:{port}" in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize("url", ["", "http://127.0.0.1", "nats://", "nats://host:x", "127.0.0.1:4222"])
async def test_an_address_that_is_none(url: str) -> None:
    assert (await refused(BusSettings(url=url))).code == "bus.url"


@pytest.mark.parametrize(
    "settings",
    [
        BusSettings(url="nats://192.0.2.1:4222"),
        BusSettings(url="nats://me:secret@192.0.2.1:4222"),
        BusSettings(url="tls://nats.example:4222"),
        BusSettings(url="nats://127.0.0.1:4222,nats://192.0.2.1:4222", user="me", password="secret"),
    ],
)
async def test_off_loopback_tls_and_an_account_are_needed(settings: BusSettings) -> None:
    error = await refused(settings)
    assert error.code == "bus.insecure"
    assert "secret" not in str(error)


async def test_the_insecure_can_be_allowed() -> None:
    error = await refused(BusSettings(url="nats://192.0.2.1:4222", allow_plain=True))
    assert error.code == "bus.server_unreachable"


async def test_a_server_that_offers_no_tls_gets_no_password(server: NatsServer) -> None:
    error = await refused(BusSettings(url=server.url.replace("nats:", "tls:"), user="me", password="secret"))
    assert error.code == "bus.tls_failed"
    assert "does not ask for TLS" in str(error)


async def test_wrong_files(tmp_path: Path, server: NatsServer) -> None:
    assert (await refused(BusSettings(url=server.url, tls_ca=str(tmp_path / "none")))).code == "bus.tls_files"
    assert (await refused(BusSettings(url=server.url, credentials=str(tmp_path / "none")))).code == "bus.nkeys_missing"


async def test_a_server_without_jetstream_gives_no_numbers(crowd: Crowd) -> None:
    server = NatsServer(jetstream=False).start()
    try:
        bus = await crowd.bus(server.url)
        with pytest.raises(StartError) as caught:
            await bus.open("node", Recorder(), lease_number=True)
        assert caught.value.code == "bus.no_jetstream"
        hub = await bus.open("hub", Recorder())
        assert await hub.call(hub.address, b"works", 5) == b"WORKS"
        assert bus.endpoints == {hub.address: hub}
    finally:
        await crowd.buses.pop().close()
        server.stop()


async def test_a_server_with_a_small_max_payload() -> None:
    server = NatsServer(config="max_payload: 65536").start()
    try:
        error = await refused(BusSettings(url=server.url))
        assert error.code == "bus.max_payload"
        assert "65536" in str(error)
    finally:
        server.stop()


ACCOUNTS = 'authorization { user: towline, password: "right" }'


async def test_accounts(crowd: Crowd) -> None:
    server = NatsServer(config=ACCOUNTS).start()
    try:
        assert (await refused(BusSettings(url=server.url))).code == "bus.account_refused"
        for _ in range(20):  # the server closes at once: its reason must not be lost with the connection
            wrong = await refused(BusSettings(url=server.url, user="towline", password="wrong"))
            assert wrong.code == "bus.account_refused"
            assert "wrong" not in str(wrong)
        bus = await crowd.bus(BusSettings(url=server.url, user="towline", password="right"))
        node = await bus.open("node", Recorder(), lease_number=True)
        assert node.number == 1
        await crowd.buses.pop().close()
        in_url = await crowd.bus(server.url.replace("://", "://towline:right@"))
        assert in_url.connected
        await crowd.buses.pop().close()
    finally:
        server.stop()


async def test_the_permissions_in_the_documentation_suffice(crowd: Crowd) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "bus.md").read_text("utf-8")
    block = re.search(r"^authorization \{.*?^\}", page, re.DOTALL | re.MULTILINE)
    assert block is not None
    server = NatsServer(config=block[0].replace("$TOWLINE_NATS_PASSWORD", "right")).start()
    try:
        bus = await crowd.bus(BusSettings(url=server.url, user="towline", password="right"))
        recorder = Recorder()
        node = await bus.open("node", recorder, lease_number=True, events=True)
        assert node.number == 1
        assert await node.call(node.address, b"x", 5) == b"X"
        node.announce(b"event")
        await until(lambda: recorder.payloads("event"))
        await crowd.buses.pop().close()
        assert bus.link.cuts == 0
    finally:
        server.stop()


def certificates(directory: Path) -> tuple[Path, str]:
    """A CA's file, and a nats-server configuration with a certificate for 127.0.0.1 that it signed."""
    now = datetime.datetime.now(datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
    for key, name, is_ca in ((keys[0], issuer, True), (keys[1], x509.Name([]), False)):
        builder = (
            x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        )
        if not is_ca:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=True)
        certificate = builder.sign(keys[0], hashes.SHA256()).public_bytes(Encoding.PEM)
        (directory / ("ca.pem" if is_ca else "server.pem")).write_bytes(certificate)
    secret = keys[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "server.key").write_bytes(secret)
    config = f'tls {{ cert_file: "{directory}/server.pem", key_file: "{directory}/server.key" }}'
    return directory / "ca.pem", config


async def test_tls(crowd: Crowd, tmp_path: Path) -> None:
    ca, config = certificates(tmp_path)
    server = NatsServer(config=f"{config}\n{ACCOUNTS}").start()
    try:
        url = server.url.replace("nats:", "tls:")
        stranger = await refused(BusSettings(url=url, user="towline", password="right"))
        assert stranger.code == "bus.tls_failed"
        assert "certificate verify failed" in str(stranger)
        bus = await crowd.bus(BusSettings(url=url, user="towline", password="right", tls_ca=str(ca)))
        node = await bus.open("node", Recorder(), lease_number=True)
        assert await node.call(node.address, b"sealed", 5) == b"SEALED"
        server.kill()
        server.restart()
        await until(lambda: bus.link.cuts and bus.connected)
        assert await node.call(node.address, b"again", 5) == b"AGAIN"
        await crowd.buses.pop().close()
    finally:
        server.stop()


async def test_cuts_are_logged_without_the_account(
    crowd: Crowd, server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    bus = await crowd.bus(server.url.replace("://", "://me:secret@"))
    with caplog.at_level(logging.INFO):
        server.kill()
        await until(lambda: bus.link.cuts)
        server.restart()
        await until(lambda: bus.connected)
    told = [(record.getMessage(), record.__dict__["server"]) for record in caplog.records if "bus is" in record.message]
    assert told == [("the bus is cut", server.url), ("the bus is back", server.url)]
