# SPDX-License-Identifier: Apache-2.0
"""Imports only go down: the table of docs/concepts/house.md, held against the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "towline"

FLOORS: list[set[str]] = [
    {"cli"},
    {"app"},
    {"portal", "api"},
    {"hub", "gateway", "agent"},
    {"plugins"},
    {"client", "sdk"},
    {"bus", "store"},
    {"protocols"},
    {"config"},
    {"errors", "ids", "clock", "log"},
]
"""Highest first. A room may import rooms of lower floors, and itself."""

STRANGERS = {
    ("gateway", "agent"),
    ("gateway", "hub"),
    ("agent", "hub"),
    ("portal", "api"),
    ("client", "sdk"),
    ("bus", "store"),
}
"""Rooms of one floor never import each other; these pairs are worth naming."""

MAY_NOT = {
    "portal": {"hub", "gateway", "agent"},
    "api": {"gateway", "agent"},
    "plugins": {"bus", "store"},
    "sdk": {"bus", "store"},
}
"""Besides the floors: what a room must not see although it is below."""

SMALL = {"agent", "sdk", "client", "plugins", "cli", "protocols", "config"}
"""Rooms that run on the base install."""

SERVER_ONLY = {
    "fastapi",
    "starlette",
    "uvicorn",
    "socketio",
    "engineio",
    "nats",
    "httptools",
    "websockets",
    "jwt",
    "prometheus_client",
    "asyncpg",
    "lupa",
}

IMPURE = {
    "asyncio",
    "socket",
    "ssl",
    "time",
    "os",
    "pathlib",
    "threading",
    "subprocess",
    "selectors",
    "random",
    "sqlite3",
    "picows",
    "uvloop",
}
"""What protocols/ must not import: it has no I/O and no clock (randomness is a default argument)."""


def modules() -> Iterator[tuple[str, Path, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield room(path), path, ast.parse(path.read_text("utf-8"))


def room(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imports(tree: ast.Module, *, top_only: bool = False) -> Iterator[tuple[str, int]]:
    nodes = tree.body if top_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            if node.module == "towline":
                yield from ((f"towline.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield f"relative import {node.module}", node.lineno


def floor(name: str) -> int:
    return next((n for n, rooms in enumerate(FLOORS) if name in rooms), -1)


def test_every_module_stands_in_a_room() -> None:
    unknown = [str(path) for name, path, _ in modules() if floor(name) < 0 and name not in {"__init__", "__main__"}]
    assert not unknown


def test_imports_only_go_down() -> None:
    wrong = []
    for name, path, tree in modules():
        if name in {"__init__", "__main__"}:
            continue
        for target, line in imports(tree):
            if target.startswith("relative import"):
                wrong.append(f"{path}:{line}: {target}")
            if not target.startswith("towline."):
                continue
            other = target.split(".")[1]
            if other == name or other == "__version__":
                continue
            if floor(other) <= floor(name) or other in MAY_NOT.get(name, ()):
                wrong.append(f"{path.relative_to(SOURCE)}:{line}: {name} must not import {target}")
    assert not wrong, "\n".join(wrong)


def test_strangers_stand_on_one_floor() -> None:
    for a, b in STRANGERS:
        assert floor(a) == floor(b)


def test_protocols_are_pure() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}: {target}"
        for name, path, tree in modules()
        if name == "protocols"
        for target, line in imports(tree)
        if target.split(".")[0] in IMPURE
    ]
    assert not wrong, "\n".join(wrong)


def test_a_small_device_needs_only_the_base_install() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}: {target}"
        for name, path, tree in modules()
        if name in SMALL
        for target, line in imports(tree, top_only=name == "cli")
        if target.split(".")[0] in SERVER_ONLY
    ]
    assert not wrong, "\n".join(wrong)


def test_no_sql_outside_store() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}"
        for name, path, tree in modules()
        if name not in {"store", "agent"}
        for target, line in imports(tree)
        if target.split(".")[0] in {"sqlite3", "asyncpg"}
    ]
    assert not wrong, "\n".join(wrong)


def test_every_module_has_a_licence_line() -> None:
    root = SOURCE.parent.parent
    for folder in ("src", "tests", "tools", "benchmarks", "examples"):
        for path in (root / folder).rglob("*.py"):
            if path.is_relative_to(root / "benchmarks" / "bin"):  # what others made, fetched to compare with
                continue
            assert path.read_text("utf-8").startswith("# SPDX-License-Identifier: Apache-2.0"), path


def test_modules_stay_small() -> None:
    long = []
    for name, path, _ in modules():
        limit = 600 if name == "protocols" else 400
        lines = len(path.read_text("utf-8").splitlines())
        if lines > limit:
            long.append(f"{path.relative_to(SOURCE)}: {lines} lines, at most {limit}")
    assert not long, "\n".join(long)
