# SPDX-License-Identifier: Apache-2.0
"""``engine`` and ``center`` joined by a real nats-server, raw servers of connmix's file, and certificates of both APIs."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.certificates import write_pair
from tests.helpers import free_port, wait_until
from tests.integration.product import TOWLINE, Product, environment
from tests.natsserver import NatsServer

SCRIPT = """\
function on_handshake(conn) conn:subscribe("news") conn:send("hello") end
function on_message(msg) mix.websocket():send(msg.data) end
function on_close(err) end
"""

LINES = """\
function on_connect(id)
  mix.socket.tcp():subscribe("news")
  mix.socket.tcp():send("welcome\\n")
end
function protocol_input(buf) return buf:tostring():find("\\n", 1, true) or 0 end
function protocol_decode(str) return str:sub(1, -2) end
function protocol_encode(str) return str .. "\\n" end
function on_message(data) mix.socket.tcp():send("got " .. data .. "\\n") end
function on_close(id, err) end
"""

FILE = """\
center:
  apiServer: {{port: {center}, bind: 127.0.0.1}}
engine:
  centerRegistry: localhost:6786
  apiServer: {{port: {api}, bind: 127.0.0.1}}
  servers:
    - port: {clients}
      bind: 127.0.0.1
      protocol: websocket
      entry: lua/entry.websocket.lua
    - port: {raw}
      bind: 127.0.0.1
      protocol: socket
      entry: lua/entry.socket.lua
"""


class Role:
    """One ``towline gateway ROLE -f connmix.yaml``."""

    def __init__(self, folder: Path, role: str, nats: str) -> None:
        folder.mkdir()
        (folder / "lua").mkdir()
        (folder / "lua" / "entry.websocket.lua").write_text(SCRIPT)
        (folder / "lua" / "entry.socket.lua").write_text(LINES)
        self.ports = {name: free_port() for name in ("center", "api", "clients", "raw")}
        (folder / "connmix.yaml").write_text(FILE.format(**self.ports))
        self._output = folder / "output.txt"
        with self._output.open("wb") as out:
            self.process = subprocess.Popen(
                [*TOWLINE, "gateway", role, "--bus", nats, "-f", "connmix.yaml"],
                cwd=folder,
                env=environment(),
                stdout=out,
                stderr=out,
            )
        wait_until(lambda: self.process.poll() is not None or "ready" in self.output(), 20, what=f"the {role}")
        assert self.process.poll() is None, self.output()

    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def json(self, port: str, path: str, body: Any = None) -> Any:
        url = f"http://127.0.0.1:{self.ports[port]}{path}"
        with httpx.Client(trust_env=False, timeout=10) as client:
            return (client.get(url) if body is None else client.post(url, json=body)).json()

    def metrics(self, port: str) -> dict[str, float]:
        text = httpx.get(f"http://127.0.0.1:{self.ports[port]}/metrics", trust_env=False, timeout=10).text
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    @contextmanager
    def client(self) -> Iterator[ClientConnection]:
        with connect(f"ws://127.0.0.1:{self.ports['clients']}/chat", proxy=None) as client:
            assert client.recv(5) == "hello"
            yield client

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(15) == 0, self.output()
        assert "Traceback" not in self.output(), self.output()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def nats() -> Iterator[NatsServer]:
    server = NatsServer().start()
    yield server
    server.stop()


@pytest.mark.needs_nats
def test_a_center_sums_up_its_engines(tmp_path: Path, nats: NatsServer) -> None:
    with ExitStack() as stack:
        roles: dict[str, Role] = {}
        for name in ("engine", "engine", "center"):
            role = Role(tmp_path / f"{name}{len(roles)}", name, nats.url)
            stack.callback(role.close)
            roles[f"{name}{len(roles)}"] = role
        one, two, center = roles.values()
        for engine in (one, two):
            with pytest.raises(httpx.ConnectError):
                engine.json("center", "/version")
        assert center.json("center", "/version")["apis"] == ["v1"]
        wait_until(lambda: len(center.json("center", "/v1/nodes")["nodes"]) == 2, 10, what="both engines")
        listed = {node["api_server"] for node in center.json("center", "/v1/nodes")["nodes"]}
        assert listed == {f"127.0.0.1:{engine.ports['api']}" for engine in (one, two)}
        with one.client() as first, two.client() as second, two.client():
            wait_until(
                lambda: one.json("api", "/v1/mesh/publish", {"c": "news", "d": "x"})["r"] == {"s": 3, "f": 0},
                10,
                what="counts of both engines",
            )
            first.recv(5), second.recv(5)
            assert {name: value for name, value in center.metrics("center").items() if "registry" in name} == {
                "connmix_center_registry_engine_nodes": 2,
                "connmix_center_registry_clients": 3,
                "connmix_center_registry_channels_total": 2,
            }
            one.process.kill()
            one.process.wait()
            wait_until(lambda: len(center.json("center", "/v1/nodes")["nodes"]) == 1, 10, what="the end of one engine")
            assert center.metrics("center")["connmix_center_registry_clients"] == 2
        two.stop()
        assert center.json("center", "/v1/nodes") == {"nodes": []}
        center.stop()


@pytest.mark.needs_nats
def test_a_raw_server_of_the_file(tmp_path: Path, nats: NatsServer) -> None:
    role = Role(tmp_path / "one", "dev", nats.url)
    try:
        with socket.create_connection(("127.0.0.1", role.ports["raw"]), 5) as client, client.makefile("rb") as lines:
            assert lines.readline() == b"welcome\n"
            client.sendall(b"one\ntwo\n")
            assert [lines.readline(), lines.readline()] == [b"got one\n", b"got two\n"]
            assert role.json("api", "/v1/mesh/publish", {"c": "news", "d": "x"})["r"] == {"s": 1, "f": 0}
            assert lines.readline() == b"x\n"
        role.stop()
    finally:
        role.close()


def serial(port: int) -> int:
    """The serial number of the certificate that a port shows."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port)).encode()).serial_number


def test_certificates_of_both_apis_are_renewed_under_up(tmp_path: Path) -> None:
    """TLS for push and center API, in the product as a whole; settings saved meanwhile count too."""
    chain, key = write_pair(tmp_path)
    center, raw = free_port(), free_port()
    (tmp_path / "raw.py").write_text("def on_message(conn, message):\n    conn.send(message)\n")
    file = tmp_path / "towline.yaml"
    text = (
        f"gateway:\n  api_certificate: {chain}\n  api_key: {key}\n  center_listen: 127.0.0.1:{center}\n"
        f"  listeners:\n    - {{listen: '127.0.0.1:{raw}', protocol: socket, entry: raw.py}}\n"
    )
    file.write_text(text)
    product = Product(tmp_path, "--no-agent").start()
    try:
        with socket.create_connection(("127.0.0.1", raw), 5) as client:
            client.sendall(b"echo")
            assert client.recv(10) == b"echo"
        ports = (product.ports["api"], center)
        before = {serial(port) for port in ports}
        assert len(before) == 1
        context = ssl.create_default_context(cafile=str(chain))
        with httpx.Client(verify=context, trust_env=False) as client_:
            for port in ports:
                assert client_.get(f"https://localhost:{port}/version").json()["apis"] == ["v1"]
            write_pair(tmp_path)
            os.utime(chain)
            wait_until(lambda: {serial(port) for port in ports}.isdisjoint(before), 20, what="the new certificate")
            # a connection from before goes on
            assert client_.get(f"https://localhost:{ports[0]}/version").status_code == 200
        file.write_text(text + "  users: [{username: u, password: p}]\n")
        fresh = ssl.create_default_context(cafile=str(chain))

        def status() -> int:
            return httpx.get(f"https://localhost:{center}/version", verify=fresh, trust_env=False).status_code

        wait_until(lambda: status() == 401, 20, what="access by users")
    finally:
        product.stop()


def test_a_second_node_leaves_the_usual_center_port_to_the_first(tmp_path: Path) -> None:
    """6787 is served by who has it; nobody fails because of it."""
    with ExitStack() as stack:
        holder = socket.socket()
        stack.callback(holder.close)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", 6787))
            holder.listen()
        except OSError:
            pass  # somebody has it already, which is what is wanted
        output = tmp_path / "output.txt"
        with output.open("wb") as out:
            process = subprocess.Popen(
                [*TOWLINE, "gateway", "--api-port", str(free_port()), "--clients-port", str(free_port())],
                cwd=tmp_path,
                env=environment(),
                stdout=out,
                stderr=out,
            )
        try:
            wait_until(lambda: "ready" in output.read_text() or process.poll() is not None, 20, what="the node")
            assert "the center API is not served here: its port is in use" in output.read_text()
            process.terminate()
            assert process.wait(15) == 0
        finally:
            process.kill()
            process.wait()
