# SPDX-License-Identifier: Apache-2.0
"""Our YAML from a translated file: only what was set there, each value with the key and line it came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from towline.config.connmix.mapping import Translated
from towline.config.yamlfile import Path


def render(translated: Translated) -> str:
    """The file's text; loading it gives the same settings as the original."""
    name = _plain(translated.document.name)
    lines = [
        f"# From {name} by `towline gateway import`: behind each value its key there, and the line.",
        "",
        *_map(translated, translated.document.value, (), ""),
    ]
    if translated.notes:
        lines += ["", "# Not carried over, or worth knowing:"]
        lines += [f"#   {_plain(str(note))}" for note in translated.notes]
    return "\n".join(lines) + "\n"


def _map(translated: Translated, tree: dict[str, Any], path: Path, indent: str) -> Iterator[str]:
    for key, value in tree.items():
        here = (*path, key)
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _map(translated, value, here, f"{indent}  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{indent}{key}:"
            for index, item in enumerate(value):
                # The first line of an item carries the dash.
                for number, line in enumerate(_map(translated, item, (*here, index), f"{indent}    ")):
                    yield f"{indent}  - {line.lstrip()}" if number == 0 else line
        else:
            yield f"{indent}{key}: {_value(value)}{_comment(translated, here)}"


def _comment(translated: Translated, path: Path) -> str:
    key, place = translated.document.names.get(path), translated.document.places.get(path)
    return f"  # {_plain(key)}, line {place.line}" if key and place else ""


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, str):
        return _text(value)
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()


def _text(value: str) -> str:
    if value.isprintable():
        # flow style, so that a text is right inside a list too
        dumped = yaml.safe_dump([value], default_flow_style=True, width=10**9, allow_unicode=True).strip()
        return dumped[1:-1]
    return '"' + "".join(_escaped(char) for char in value) + '"'


def _escaped(char: str) -> str:
    if char.isprintable():
        return f"\\{char}" if char in '"\\' else char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _plain(text: str) -> str:
    """For a comment: one line."""
    return "".join(char if char.isprintable() else "�" for char in text)
