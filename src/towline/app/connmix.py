# SPDX-License-Identifier: Apache-2.0
"""Reading a connmix configuration file from disk, and finding the scripts that it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from towline.app.settings import read_file
from towline.config.connmix.mapping import Translated, translate
from towline.config.yamlfile import parse


def read_connmix(path: Path) -> Translated:
    """The file as settings of ours. InvalidInput ``config.*``, naming line and column."""
    return translate(parse(read_file(path), str(path)), script_finder(path))


def script_finder(config: Path) -> Callable[[str], str]:
    """Scripts are relative to the working directory, as connmix has it. One that is not there is looked for beside the
    configuration: in the file's directory, or above it when that is called ``conf`` (``conf/connmix.yaml``, ``lua/…``)."""
    folder = config.absolute().parent
    root = folder.parent if folder.name == "conf" else folder

    def find(script: str) -> str:
        if not script or script.startswith("builtin:") or Path(script).exists() or not (root / script).exists():
            return script
        return str(root / script)

    return find
