# SPDX-License-Identifier: Apache-2.0
"""``towline gateway`` on connmix's own file, in real processes: it runs as it is, follows what is saved, and is imported."""

from __future__ import annotations

import base64
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.helpers import free_port, wait_until
from tests.integration.product import TOWLINE, environment

FILE = """\
logging:
  filename: logs/connmix.log
  maxFiles: 7
  level: info
licenses:
  activationCode:
  server: https://licences.example
access: # at once
  users:
center:
  registry: {{port: 6786, bind: 0.0.0.0}}
  apiServer:
    port: {center}
    bind: 127.0.0.1
engine:
  centerRegistry: localhost:6786
  meshPoint: {{port: 6788, bind: 0.0.0.0}}
  apiServer:
    port: {api}
    bind: 127.0.0.1
    readBufferSize: 40096
    writeBufferSize: 40096
    readTimeout: 60
    writeTimeout: 60
  luavm:
    queue:
      topicSize: 2000
      maxTopics: 100
  servers:
    - port: {clients}
      bind: 127.0.0.1
      protocol: websocket
      options:
        - name: path
          value: /chat
      entry: lua/entry.websocket.lua
      byteCodeExpires: 10
      readBufferSize: 1024
      writeBufferSize: 1024
      readTimeout: 60
      writeTimeout: 10
"""

SCRIPT = """\
function on_handshake(client_id, headers) end
function on_close(client_id, err) end
function on_message(msg)
  local conn = mix.websocket()
  if msg.data == "option" then conn:send(mix.server.option("path")) else conn:send("Hello,World!") end
end
"""

USERS = """  users:
    - username: user
      password: pass
      roles:
        - read
        - write
      host: '*'
"""


class Gateway:
    """A node in a directory laid out as connmix's."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self.words = words
        self.ports = {name: free_port() for name in ("center", "api", "clients")}
        self.file = folder / "conf" / "connmix.yaml"
        self.file.parent.mkdir()
        (folder / "lua").mkdir()
        (folder / "lua" / "entry.websocket.lua").write_text(SCRIPT)
        self.text = FILE.format(**self.ports)
        self.save(self.text)
        self.process: subprocess.Popen[bytes] | None = None

    def save(self, text: str) -> None:
        """As an editor saves: a new file is moved over the old one."""
        self.text = text
        temporary = self.file.with_suffix(".tmp")
        temporary.write_text(text)
        temporary.replace(self.file)

    def start(self, cwd: Path | None = None) -> Gateway:
        with (self.folder / "output.txt").open("wb") as out:
            self.process = subprocess.Popen(
                [*TOWLINE, "gateway", *self.words], cwd=cwd or self.folder, env=environment(), stdout=out, stderr=out
            )
        wait_until(lambda: "node ready" in self.output(), 20, what="the node")
        return self

    def output(self) -> str:
        return (self.folder / "output.txt").read_text(errors="replace")

    def says(self, text: str, count: int = 1) -> None:
        wait_until(lambda: self.output().count(text) >= count, 10, what=text)

    def get(self, port: str, path: str, **more: Any) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.ports[port]}{path}", trust_env=False, timeout=10, **more)

    def publish(self, **more: Any) -> httpx.Response:
        body = {"c": "news", "d": "x"}
        url = f"http://127.0.0.1:{self.ports['api']}/v1/mesh/publish"
        return httpx.post(url, json=body, trust_env=False, timeout=10, **more)

    def client(self) -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.ports['clients']}/chat", proxy=None)

    def api_socket(self, credentials: str = "") -> ClientConnection:
        headers = {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"} if credentials else {}
        return connect(f"ws://127.0.0.1:{self.ports['api']}/ws/v1", proxy=None, additional_headers=headers)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path, "dev", "-f", "conf/connmix.yaml", "-p", "2")
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def test_the_file_runs_as_it_is(gateway: Gateway) -> None:
    gateway.start()
    assert "conf/connmix.yaml: 9 keys have no meaning here" in gateway.output()
    with gateway.client() as client:
        client.send("hi")
        assert client.recv(5) == "Hello,World!"
        client.send("option")
        assert client.recv(5) == "/chat"
    assert gateway.publish().json() == {"E": None, "r": {"s": 0, "f": 0}}
    assert gateway.get("center", "/version").json()["apis"] == ["v1"]
    (node,) = gateway.get("center", "/v1/nodes").json()["nodes"]
    assert node["api_server"] == f"127.0.0.1:{gateway.ports['api']}"
    assert (gateway.folder / "logs" / "connmix.log").exists()
    assert gateway.stop() == 0


def test_a_server_that_says_little_is_as_connmix_has_it(gateway: Gateway) -> None:
    head, port, _ = gateway.text.partition("      bind: 127.0.0.1\n      protocol: websocket\n")
    gateway.save(head + port.replace("      protocol: websocket\n", "      byteCodeExpires: 10\n"))
    gateway.start()
    with gateway.client() as client:
        client.send("option")
        assert client.recv(5) == "/chat"
    place = "conf/connmix.yaml:30:7: engine.servers[0]."
    assert f"INFO    towline.app  {place}protocol: missing; websocket" in gateway.output()
    assert f"{place}entry: missing; lua/entry.websocket.lua" in gateway.output()
    assert f"{place}options: missing; clients connect to /chat" in gateway.output()


def test_users_and_level_follow_the_file_and_nobody_is_cut_off(gateway: Gateway) -> None:
    gateway.start()
    with gateway.client() as client, gateway.api_socket() as anonymous:
        assert gateway.publish().status_code == 200
        gateway.save(gateway.text.replace("  users:\n", USERS).replace("level: info", "level: debug"))
        gateway.says("settings changed")
        assert "keys=log.level, gateway.users" in gateway.output()
        assert gateway.publish().status_code == 401
        assert gateway.get("center", "/version").status_code == 401
        user = ("user", "pass")
        assert gateway.publish(auth=user).status_code == gateway.get("center", "/version", auth=user).status_code == 200
        with pytest.raises(ConnectionClosed) as ended:
            anonymous.recv(5)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 3530
        with gateway.api_socket("user:pass") as known, gateway.api_socket("user:pass") as consumer:
            consumer.send('{"m":"queue.pop","p":{"t":["x"]},"i":1}')
            assert '"r":{"s":true}' in str(consumer.recv(5))
            gateway.save(gateway.text.replace("        - write\n", ""))
            gateway.says("settings changed", 2)
            assert gateway.publish(auth=user).status_code == 403
            known.send('{"m":"mesh.publish","p":{"c":"x","d":"y"},"i":1}')
            assert '"c":403' in str(known.recv(5))
            with pytest.raises(ConnectionClosed) as ended:  # it may take no more messages
                consumer.recv(5)
            assert ended.value.rcvd is not None
            assert ended.value.rcvd.code == 3530
        client.send("still here")
        assert client.recv(5) == "Hello,World!"


def test_timeouts_are_those_of_new_connections(gateway: Gateway) -> None:
    gateway.start()
    with gateway.client() as old:
        gateway.save(gateway.text.replace("readTimeout: 60", "readTimeout: 1"))
        gateway.says("settings changed")
        assert "keys=gateway.read_timeout_s, gateway.api_keepalive_s" in gateway.output()
        with gateway.client() as new:
            with pytest.raises(ConnectionClosed) as ended:
                new.recv(10)
            assert ended.value.rcvd is not None
            assert ended.value.rcvd.code == 3002
        old.send("still here")
        assert old.recv(5) == "Hello,World!"


def test_what_needs_a_restart_is_named_once(gateway: Gateway) -> None:
    gateway.start()
    gateway.save(gateway.text.replace("topicSize: 2000", "topicSize: 7"))
    gateway.says("need a restart keys=gateway.queue.topic_size")
    gateway.save(gateway.text.replace("users:", "users: # a remark") + "\n")
    gateway.save(gateway.text.replace("level: info", "level: warn"))
    gateway.says("settings changed")
    assert gateway.output().count("need a restart") == 1


def test_a_file_that_is_wrong_leaves_everything_as_it_was(gateway: Gateway) -> None:
    gateway.save(gateway.text.replace("  users:\n", USERS))
    gateway.start()
    good = gateway.text
    for wrong, said in (
        ("access: {users: [", ": not valid YAML"),
        (
            good.replace("access:", "acess:"),
            "conf/connmix.yaml:8:1: acess: there is no such key, and access must be clear",
        ),
        (good.replace("password: pass", "passwort: pass"), "conf/connmix.yaml:10:7: access.users[0]"),
        (good.replace("readTimeout: 60", "readTimeout: soon"), "engine.apiServer.readTimeout: must be a whole number"),
        ("", "the file is empty"),
    ):
        gateway.save(wrong)
        gateway.says(said)
        assert gateway.publish().status_code == 401
    gateway.file.unlink()
    gateway.says("the settings file is gone")
    assert gateway.publish().status_code == 401
    gateway.save(good.replace("password: pass", "password: other"))
    gateway.says("settings changed")
    assert gateway.publish(auth=("user", "other")).status_code == 200


def test_started_from_elsewhere_it_finds_its_scripts(
    gateway: Gateway, tmp_path_factory: pytest.TempPathFactory
) -> None:
    gateway.words = ("single", "-f", str(gateway.file))
    gateway.start(cwd=tmp_path_factory.mktemp("elsewhere"))
    with gateway.client() as client:
        client.send("hi")
        assert client.recv(5) == "Hello,World!"


def towline(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TOWLINE, "gateway", *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_imported_file_runs_the_same(gateway: Gateway) -> None:
    gateway.save(gateway.text.replace("  users:\n", USERS))
    done = towline(gateway.folder, "import", "conf/connmix.yaml", "-o", "towline.yaml")
    assert (done.returncode, done.stdout) == (0, "")
    assert "conf/connmix.yaml:5:1: licenses: no licence is needed" in done.stderr
    written = gateway.folder / "towline.yaml"
    assert written.stat().st_mode & 0o777 == 0o600
    again = towline(gateway.folder, "import", "conf/connmix.yaml", "-o", "towline.yaml")
    assert (again.returncode, "--force" in again.stderr) == (2, True)
    assert towline(gateway.folder, "import", "conf/connmix.yaml").stdout == written.read_text()
    gateway.words = ()
    gateway.start()
    assert gateway.publish().status_code == 401
    assert gateway.get("center", "/v1/nodes", auth=("user", "pass")).status_code == 200
    with gateway.client() as client:
        client.send("option")
        assert client.recv(5) == "/chat"
    # our own file is followed as theirs is
    text = written.read_text().replace("password: pass", "password: other")
    written.write_text(text)
    gateway.says("settings changed")
    assert gateway.publish(auth=("user", "other")).status_code == 200


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("engine", "-f", "conf/connmix.yaml"), "conf/connmix.yaml:16:3: engine and center are joined by NATS"),
        (("center",), "bus.url: engine and center are joined by NATS"),
        (("-f", "conf/connmix.yaml", "--config", "x.yaml"), "give --config or -f, one of them"),
        (("-f", "conf/connmix.yaml", "dev"), "options stand behind the command: towline gateway dev"),
        (("dev", "-f", "open.yaml"), "open.yaml:1:1: acess: there is no such key, and access must be clear"),
        (("dev", "-f", "nowhere.yaml"), "nowhere.yaml: cannot read the settings file"),
    ],
)
def test_what_cannot_be_started_says_why(gateway: Gateway, words: tuple[str, ...], message: str) -> None:
    (gateway.folder / "open.yaml").write_text("acess:\n  users: [{username: u, password: p}]\n")
    done = towline(gateway.folder, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "entry.websocket.lua",
            "none.lua",
            "36:7: engine.servers[0].entry: cannot read lua/none.lua: No such file or directory",
        ),
        (
            "entry.websocket.lua",
            "entry.txt",
            "36:7: engine.servers[0].entry: 'lua/entry.txt' is neither a .py or .lua file",
        ),
        (
            "protocol: websocket",
            "protocol: socket",
            "conf/connmix.yaml:36:7: engine.servers[0].entry: lua/entry.websocket.lua: ",
        ),
        (
            "bind: 127.0.0.1\n      protocol",
            "bind: 192.0.2.1\n      protocol",
            "31:7: engine.servers[0].bind: cannot listen on",
        ),
        (
            "  servers:\n    - port: {clients}",
            "  servers:\n    - port: {taken}",
            "30:7: engine.servers[0].port: 127.0.0.1:",
        ),
    ],
)
def test_a_start_that_fails_names_the_line_in_their_file(gateway: Gateway, old: str, new: str, message: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = gateway.ports | {"taken": taken.getsockname()[1]}
        old, new = old.format(**ports), new.format(**ports)
        assert old in gateway.text
        gateway.save(gateway.text.replace(old, new))
        done = towline(gateway.folder, "dev", "-f", "conf/connmix.yaml")
    assert (done.returncode, done.stderr.count("\ntowline: conf/connmix.yaml:")) == (2, 1)
    assert message in done.stderr


def test_a_center_port_that_was_asked_for_must_be_free(gateway: Gateway) -> None:
    gateway.start()
    port = str(gateway.ports["center"])
    other = ("--api-port", "0", "--clients-port", "0", "--center-port", port)
    done = towline(gateway.folder, *other)
    assert (done.returncode, "gateway.center_listen" in done.stderr) == (2, True)
