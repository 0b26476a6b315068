# SPDX-License-Identifier: Apache-2.0
"""Who is measured: ourselves, and what people use today. Each starts its server on the server's core."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from benchmarks import fetch
from benchmarks.harness import CACHE, ROOT, NotAvailable, Server, free_port, running

Start = Callable[[], AbstractContextManager[Server]]
SERVERS = ROOT / "servers"


def towline(entry: str, *options: str) -> Start:
    """A gateway node with this entry: a file in servers/, or a built-in."""

    @contextmanager
    def start() -> Iterator[Server]:
        ports = {"api": free_port(), "clients": free_port()}
        with running(_node(ports, entry, *options), ports=ports) as server:
            yield server

    return start


def towline_nodes(count: int) -> Start:
    """A NATS server and ``count`` nodes on it, all on one core; the ports are ``clients0``, ``api0`` and so on."""

    @contextmanager
    def start() -> Iterator[Server]:
        with ExitStack() as stack:
            port = free_port()
            store = stack.enter_context(tempfile.TemporaryDirectory())
            nats = stack.enter_context(running([*_nats(port), "-js", "-sd", store], ports={"nats": port}))
            pids, ports = list(nats.pids), {}
            for number in range(count):
                own = {"api": free_port(), "clients": free_port()}
                command = _node(own, "fanout_entry.py", "--nats", f"nats://127.0.0.1:{port}")
                pids += stack.enter_context(running(command, ports=own)).pids
                ports.update({f"{name}{number}": value for name, value in own.items()})
            for number in range(count):
                _joined(ports[f"api{number}"], count)
            yield Server(pids, ports, nats.process)

    return start


def _joined(api: int, count: int) -> None:
    """Until a node knows of so many, itself included."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with urllib.request.urlopen(f"http://127.0.0.1:{api}/v1/nodes", timeout=5) as response:
            if len(json.load(response)["nodes"]) == count:
                return
        time.sleep(0.05)
    raise NotAvailable(f"{count} nodes did not find each other")


def _node(ports: dict[str, int], entry: str, *options: str) -> list[str]:
    name = entry if entry.startswith("builtin:") else str(SERVERS / entry)
    command = [sys.executable, "-m", "benchmarks.servers.gateway", "--entry", name, *options]
    return [*command, "--api", str(ports["api"]), "--clients", str(ports["clients"])]


def _nats(port: int) -> list[str]:
    return [fetch.nats_server(), "-a", "127.0.0.1", "-p", str(port)]


@contextmanager
def nats_server() -> Iterator[Server]:
    port = free_port()
    with running(_nats(port), ports={"clients": port, "api": port}) as server:
        yield server


@contextmanager
def bare_c() -> Iterator[Server]:
    port = free_port()
    with running([str(CACHE / "cserv"), str(port)], ports={"clients": port, "api": port}) as server:
        yield server


@contextmanager
def nchan() -> Iterator[Server]:
    nginx, module = fetch.nginx_with_nchan()
    port = free_port()
    config = CACHE / "nchan.conf"
    config.write_text(
        f"""load_module {module};
{"user root;" if os.geteuid() == 0 else ""}
worker_processes 1;
worker_rlimit_nofile 40000;
daemon off;
pid {CACHE}/nchan.pid;
error_log stderr crit;
events {{ worker_connections 30000; }}
http {{
  access_log off;
  client_body_temp_path {CACHE}/body; proxy_temp_path {CACHE}/proxy; fastcgi_temp_path {CACHE}/fastcgi;
  uwsgi_temp_path {CACHE}/uwsgi; scgi_temp_path {CACHE}/scgi;
  keepalive_requests 1000000000;
  nchan_max_reserved_memory 256M;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /sub {{ nchan_subscriber websocket; nchan_channel_id ch; nchan_subscriber_first_message newest; }}
    location = /pub {{ nchan_publisher http; nchan_channel_id ch; nchan_message_buffer_length 100; }}
  }}
}}
"""
    )
    command = [nginx, "-e", "stderr", "-c", str(config)]
    with running(command, ports={"clients": port, "api": port}, workers=True) as server:
        yield server


@contextmanager
def node_ws() -> Iterator[Server]:
    yield from _script(fetch.node(), SERVERS / "node_ws.cjs", {"NODE_PATH": str(fetch.npm_packages("ws", "8"))})


@contextmanager
def socket_io() -> Iterator[Server]:
    packages = fetch.npm_packages("socket.io", "4")
    yield from _script(fetch.node(), SERVERS / "socketio.cjs", {"NODE_PATH": str(packages)})


@contextmanager
def bun() -> Iterator[Server]:
    yield from _script(fetch.bun(), SERVERS / "bun_server.js", {})


@contextmanager
def aiohttp() -> Iterator[Server]:
    path = os.pathsep.join(filter(None, [fetch.aiohttp_path(), os.environ.get("PYTHONPATH", "")]))
    yield from _script(sys.executable, SERVERS / "aiohttp_server.py", {"PYTHONPATH": path})


def _script(program: str, script: Path, env: dict[str, str]) -> Iterator[Server]:
    port = free_port()
    with running([program, str(script), str(port)], ports={"clients": port, "api": port}, env=env) as server:
        yield server
