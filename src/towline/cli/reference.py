# SPDX-License-Identifier: Apache-2.0
"""The reference of the command line, drawn from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def commands(group: Any, prefix: str = "towline") -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its full name."""
    inner = getattr(group, "commands", None)
    if inner is None or getattr(group, "invoke_without_command", False):
        yield prefix, group
    for name, each in (inner or {}).items():
        yield from commands(each, f"{prefix} {name}")


def markdown() -> str:
    """One section for each command: what it does, its arguments and options."""
    import typer.main

    from towline.cli.main import app

    lines: list[str] = []
    for name, command in commands(typer.main.get_command(app)):
        if name == "towline":
            continue
        lines += [f"## `{name}`", "", _usage(name, command), "", _text(command.help or ""), ""]
        rows = [row for parameter in command.params if (row := _row(parameter)) is not None]
        if rows:
            lines += ["| argument or option | default | meaning |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _usage(name: str, command: Any) -> str:
    words = [name]
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            word = parameter.name.upper() + ("…" if parameter.nargs == -1 else "")
            words.append(word if parameter.required else f"[{word}]")
    return f"`{' '.join([*words, '[OPTIONS]'])}`"


def _row(parameter: Any) -> str | None:
    if parameter.name == "help" or getattr(parameter, "hidden", False):
        return None
    if parameter.param_type_name == "argument":
        names = f"`{parameter.name.upper()}`"
    else:
        value = "" if parameter.is_flag else f" {parameter.name.upper()}"
        names = ", ".join(f"`{option}`" for option in parameter.opts) + value
    default = parameter.default
    if parameter.required:
        shown = "required"
    elif default in (None, "", (), False) or callable(default) or "UNSET" in repr(default).upper():
        shown = ""
    else:
        shown = f"`{default}`"
    return f"| {names} | {shown} | {_text(parameter.help or '')} |"


def _text(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
