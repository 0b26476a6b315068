# SPDX-License-Identifier: Apache-2.0
"""Undocumented means red: settings, error codes, commands, routes, events, links between pages."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def test_settings_and_error_codes_are_documented() -> None:
    assert load(ROOT / "tools" / "reference.py").outdated(write=False) == [], "run: make docs"


def test_every_setting_has_a_description() -> None:
    from towline.app.settings import Settings
    from towline.config.schema import settings

    bare = [setting.key for setting in settings(Settings) if not setting.description]
    assert bare == []


def commands(group: object, prefix: str = "towline") -> list[str]:
    inner: dict[str, object] | None = getattr(group, "commands", None)
    if inner is None:
        return [prefix]
    return [line for name, one in inner.items() for line in commands(one, f"{prefix} {name}")]


def test_every_command_is_documented() -> None:
    import typer.main

    from towline.cli.main import app

    page = (DOCS / "reference" / "cli.md").read_text("utf-8")
    missing = [line for line in commands(typer.main.get_command(app)) if line not in page]
    assert missing == []


def test_every_make_target_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()
    page = (ROOT / "README.md").read_text("utf-8") + (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    targets = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split()
    assert [target for target in targets if target != "help" and f"make {target}" not in page] == []


PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    broken = [
        target
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
        if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_page_is_reached_from_the_index() -> None:
    index = (DOCS / "README.md").read_text("utf-8")
    missing = [
        str(page.relative_to(DOCS))
        for page in DOCS.rglob("*.md")
        if page.name != "README.md" and str(page.relative_to(DOCS)) not in index
    ]
    assert missing == []


def test_no_registry_host_and_no_path_of_a_machine_is_committed() -> None:
    hosts = "|".join(
        ["pypi" + r"\.org", "files" + r"\.pythonhosted", "registry" + r"\.npmjs", "deb" + r"\.debian\.org"]
    )
    places = "|".join(["/wo" + "rk/", "/ro" + "ot/", r"/op" + r"t/wheels"])
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    wrong = []
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if not name or not path.is_file() or path.suffix in {".png", ".woff2"}:
            continue
        text = path.read_text("utf-8", errors="replace")
        if re.search(hosts, text) or re.search(rf"(?<![\w.])(?:{places})", text):
            wrong.append(name)
    assert wrong == []
