# SPDX-License-Identifier: Apache-2.0
"""Files, keys, certificate, TLS rules, platform, bundled plugins, the standalone mode's words."""

from __future__ import annotations

import asyncio
import json
import ssl
import stat
import sys
from pathlib import Path

import pytest

from tests.helpers import until
from tests.unit.agent.fakes import GUID, opened
from towline.agent import bundled
from towline.agent.bundled import PLUGINS, Bundled, Supervisor
from towline.agent.certificate import CERTIFICATE_FILE, server_context
from towline.agent.files import prepare_directory, write_private
from towline.agent.identity import Identity, device_key, load_identity, save_identity, verify
from towline.agent.keys import Keys
from towline.agent.platform import FileLock, facts, home_of, kill_group, user_exists
from towline.agent.settings import AgentSettings
from towline.agent.standalone import describe, read_credential
from towline.agent.tls import client_context, is_loopback
from towline.clock import ManualClock
from towline.errors import Refused, StartError
from towline.protocols.link.items import Alert, CommandStep, Dec, Declared, PluginPresence, Record, State
from towline.protocols.octo.declaration import GUID as GUID_RULE


def test_a_private_file_is_private_and_whole(tmp_path: Path) -> None:
    prepare_directory(tmp_path / "a" / "b")
    path = tmp_path / "a" / "b" / "file"
    write_private(path, b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_file_in_the_way_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError) as caught:
        prepare_directory(tmp_path / "file" / "data")
    assert caught.value.code == "agent.data"


def test_the_device_key_is_made_once(tmp_path: Path) -> None:
    key = device_key(tmp_path)
    assert device_key(tmp_path).public == key.public
    assert stat.S_IMODE((tmp_path / "agent.key").stat().st_mode) == 0o600
    assert verify(key.public, b"message", key.sign(b"message"))
    assert not verify(key.public, b"other", key.sign(b"message"))
    assert not verify(b"short", b"message", bytes(64))
    (tmp_path / "agent.key").write_bytes(b"cut")
    with pytest.raises(StartError) as caught:
        device_key(tmp_path)
    assert caught.value.code == "agent.key"


def test_the_identity_is_kept(tmp_path: Path) -> None:
    assert load_identity(tmp_path) is None
    identity = Identity(device_id="d", workgroup="w", hub_id="h", hub_key=bytes(32), url="wss://h/link/v1")
    save_identity(tmp_path, identity)
    assert load_identity(tmp_path) == identity
    (tmp_path / "identity.json").write_text("{")
    with pytest.raises(StartError) as caught:
        load_identity(tmp_path)
    assert caught.value.code == "agent.identity"


def test_the_certificate_is_made_once_and_mended(tmp_path: Path) -> None:
    context = server_context(tmp_path)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    path = tmp_path / CERTIFICATE_FILE
    first = path.read_bytes()
    server_context(tmp_path)
    assert path.read_bytes() == first
    path.write_bytes(first[:100])
    server_context(tmp_path)
    assert len(path.read_bytes()) > 500


def test_the_certificate_is_for_loopback(tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    server_context(tmp_path)
    certificate = x509.load_pem_x509_certificate((tmp_path / CERTIFICATE_FILE).read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("ws://localhost:1/link/v1", True),
        ("ws://127.9.9.9:1/link/v1", True),
        ("ws://[::1]:1/link/v1", True),
        ("ws://10.0.0.1/link/v1", False),
        ("ws://localhost.example.org/link/v1", False),
    ],
)
def test_plaintext_stays_on_this_machine(url: str, answer: bool) -> None:
    assert is_loopback(url) is answer
    if answer:
        assert client_context(url, "") is None
    else:
        with pytest.raises(Refused) as caught:
            client_context(url, "")
        assert caught.value.code == "link.plaintext"


def test_the_link_is_checked(tmp_path: Path) -> None:
    context = client_context("wss://hub.example/link/v1", "")
    assert context is not None
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    server_context(tmp_path)
    pem = (tmp_path / CERTIFICATE_FILE).read_text()
    pinned = client_context("wss://hub.example/link/v1", pem[pem.index("-----BEGIN CERT") :])
    assert pinned is not None
    assert len(pinned.get_ca_certs()) <= 1


def test_a_lock_belongs_to_one(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire()
    assert second.holder().isdigit()
    first.release()
    assert second.acquire()
    second.release()
    assert FileLock(tmp_path / "none").holder() == "unknown"


def test_the_platform_knows_its_machine() -> None:
    known = facts()
    assert set(known) == {"hostname", "os", "kernel", "arch", "python", "platform"}
    assert all(known.values())
    assert user_exists("root")
    assert not user_exists("nobody-like-this")
    assert home_of("nobody-like-this") == "/"
    assert not kill_group(2**22 + 12345)


async def test_a_bundled_plugin_is_kept_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = tmp_path / "seen"
    (tmp_path / "fakeplugin.py").write_text(
        f"import sys, time\nopen({str(seen)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\ntime.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setitem(PLUGINS, "host", Bundled("fakeplugin", GUID, "fake"))
    monkeypatch.setattr(bundled, "_LONGEST_WAIT_S", 0.05)
    async with opened() as database:
        keys = Keys(database, ManualClock())
        supervisor = Supervisor(tmp_path / "data", AgentSettings(), keys)
        supervisor.start(12345)
        await until(lambda: seen.exists() and seen.read_text(), what="first start")
        path = tmp_path / "data" / "bundled" / "host" / "plugin_credential.json"
        assert seen.read_text().split() == ["--port", "12345", "--credential", str(path)]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        credential = json.loads(path.read_text())
        assert keys.known(GUID) == credential["access_key"]
        assert read_credential(path) == (GUID, credential["access_key"])
        (pid,) = supervisor.processes().values()
        await asyncio.create_subprocess_exec(sys.executable, "-c", f"import os; os.kill({pid}, 9)")
        await until(lambda: supervisor.counters["started"] == 2, what="second start")
        await supervisor.stop()
        assert supervisor.processes() == {}


def test_the_bundled_plugins_guids_are_of_version_4() -> None:
    assert all(GUID_RULE.fullmatch(plugin.app_guid) and plugin.app_guid[14] == "4" for plugin in PLUGINS.values())


async def test_a_plugin_that_does_not_ship_is_named(tmp_path: Path) -> None:
    async with opened() as database:
        supervisor = Supervisor(tmp_path, AgentSettings(bundled=("nope",)), Keys(database, ManualClock()))
        with pytest.raises(StartError, match="'nope'"):
            supervisor.start(1)


@pytest.mark.parametrize(
    "content", [None, "[]", "{", '{"app_guid":"x","access_key":"k"}', json.dumps({"app_guid": GUID, "access_key": ""})]
)
def test_a_credential_that_cannot_be_used(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "c.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StartError) as caught:
        read_credential(path)
    assert caught.value.code == "agent.credential"
    assert str(path) in str(caught.value)


def test_every_item_can_be_shown() -> None:
    shown = [
        describe(item)
        for item in (
            Record("metric", "t", "s", 0, {"a": Dec("1.50"), "b": None}),
            State("g", "t", "s", "n", b'"v"', 0),
            Declared("g", "n", "1.0.0", "", b"{}", 0),
            PluginPresence("g", "n", True, "registered", 0),
            Alert("g", "t", "s", "n", "trigger", "hot", 0),
            CommandStep("c", "acked", 0, b"{}"),
        )
    ]
    assert [one["type"] for one in shown] == ["metric", "state", "declared", "presence", "alert", "command"]
    assert shown[0]["fields"] == {"a": "1.50", "b": None}
    assert shown[0]["time"] == "1970-01-01T00:00:00.000Z"
