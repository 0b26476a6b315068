# SPDX-License-Identifier: Apache-2.0
"""Write the reference pages that come from the code: settings and error codes. ``--check`` only compares.

A page keeps what stands above its line ``<!-- generated below: make docs -->``.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "towline"
MARK = "<!-- generated below: make docs -->"

ERRORS = {
    "TowlineError",
    "InvalidInput",
    "NotFound",
    "Conflict",
    "Refused",
    "Unavailable",
    "StartError",
    "BusTimeout",
    "BusUnreachable",
    "BusCallError",
    "QueueFull",
    "TopicFull",
}


class Raised(NamedTuple):
    """One place that makes an error with a literal code."""

    code: str
    kind: str
    message: str
    room: str


def raised() -> Iterator[Raised]:
    """Every error made in the source with a literal code."""
    for path in sorted(SOURCE.rglob("*.py")):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or len(node.args) < 2:
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            code = node.args[0]
            if name in ERRORS and isinstance(code, ast.Constant) and isinstance(code.value, str):
                yield Raised(code.value, name, text_of(node.args[1]), room)


def text_of(node: ast.expr) -> str:
    """The sentence of a literal, an f-string or a sum of them, with … for what is filled in."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(text_of(value) for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return text_of(left) + text_of(right)
        case _:
            return "…"


def errors_page() -> str:
    found: dict[str, set[Raised]] = {}
    for one in raised():
        found.setdefault(one.code, set()).add(one)
    lines = ["| code | kind | raised by | message |", "|---|---|---|---|"]
    for code in sorted(found):
        kinds = ", ".join(sorted({one.kind for one in found[code]}))
        rooms = ", ".join(sorted({one.room for one in found[code]}))
        messages = "<br>".join(sorted({escape(one.message) for one in found[code]}))
        lines.append(f"| `{code}` | {kinds} | {rooms} | {messages} |")
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def settings_page() -> str:
    from towline.app.settings import Settings
    from towline.config.reference import markdown

    return markdown(Settings)


def rest_page() -> str:
    from towline.api.app import BASE, describe
    from towline.api.reference import markdown

    return markdown(describe(), BASE)


def cli_page() -> str:
    from towline.cli.reference import markdown

    return markdown()


PAGES = {
    "docs/reference/errors.md": errors_page,
    "docs/reference/settings.md": settings_page,
    "docs/reference/rest.md": rest_page,
    "docs/reference/cli.md": cli_page,
}


def outdated(*, write: bool) -> list[str]:
    """The pages that differ from the code; with ``write`` they are mended."""
    wrong = []
    for name, make in PAGES.items():
        path = ROOT / name
        head = path.read_text("utf-8").split(MARK)[0]
        wanted = f"{head}{MARK}\n\n{make().rstrip()}\n"
        if path.read_text("utf-8") != wanted:
            wrong.append(name)
            if write:
                path.write_text(wanted, "utf-8")
    return wrong


def main() -> int:
    check = "--check" in sys.argv
    wrong = outdated(write=not check)
    for name in wrong:
        print(f"{name}: {'is not what the code says; run make docs' if check else 'written'}")
    return int(check and bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
