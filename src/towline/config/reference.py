# SPDX-License-Identifier: Apache-2.0
"""The page docs/reference/settings.md, made from the Structs themselves."""

from __future__ import annotations

import json
from itertools import groupby

import msgspec

from towline.config.schema import Setting, settings


def markdown(kind: type[msgspec.Struct]) -> str:
    """One table for each section: key, type and limits, default, meaning, and whether it may change while running."""
    lines: list[str] = []
    for section, group in groupby(settings(kind), key=lambda setting: setting.key.split(".", 1)[0].removesuffix("[]")):
        lines += [
            f"## {section}",
            "",
            "| key | type | default | applies | meaning |",
            "|---|---|---|---|---|",
        ]
        lines += [_row(setting) for setting in group]
        lines.append("")
    return "\n".join(lines)


def _row(setting: Setting) -> str:
    kind = setting.type + (f", {setting.limits}" if setting.limits else "")
    default = msgspec.to_builtins(setting.default)
    shown = "" if default is None or default == "" else f"`{json.dumps(default, ensure_ascii=False)}`"
    applies = "new connections" if setting.live == "new" else "at once" if setting.live else "restart"
    cells = [f"`{setting.key}`", kind, shown, applies, setting.description]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
