# SPDX-License-Identifier: Apache-2.0
"""Opening a file: what is wrong is one line."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.store.support import GROUP, NOW
from towline import __version__
from towline.clock import ManualClock
from towline.errors import StartError
from towline.store.sqlite import open_store
from towline.store.sqlite.opening import Migration, migrations


async def refused(path: Path, steps: list[Migration] | None = None) -> StartError:
    with pytest.raises(StartError) as error:
        await open_store(path, ManualClock(), steps)
    assert "\n" not in str(error.value)
    return error.value


@pytest.fixture
async def written(tmp_path: Path) -> Path:
    path = tmp_path / "towline.db"
    store = await open_store(path, ManualClock())
    await store.workgroups.create(GROUP, "The plant", NOW)
    await store.close()
    return path


async def test_directories_are_made_and_private(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "towline.db"
    store = await open_store(path, ManualClock())
    try:
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    finally:
        await store.close()


async def test_it_is_wal_and_synchronous(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "towline.db", ManualClock())
    try:
        for name, value in (("journal_mode", "wal"), ("synchronous", 2), ("wal_autocheckpoint", 16000)):
            found = await store._access.write(lambda c, name=name: c.execute(f"PRAGMA {name}").fetchone()[0])  # type: ignore[misc]
            assert found == value
    finally:
        await store.close()


async def test_a_second_store_on_the_same_file_is_refused(written: Path) -> None:
    store = await open_store(written, ManualClock())
    try:
        error = await refused(written)
        assert error.code == "store.locked"
        assert str(os.getpid()) in str(error)
    finally:
        await store.close()
    await (await open_store(written, ManualClock())).close()


async def test_another_process_is_refused_too(written: Path) -> None:
    store = await open_store(written, ManualClock())
    try:
        program = (
            "import asyncio, sys\nfrom towline.clock import SystemClock\nfrom towline.store.sqlite import open_store\n"
            "from towline.errors import StartError\n"
            "try: asyncio.run(open_store(sys.argv[1], SystemClock()))\n"
            "except StartError as error: print(error.code)"
        )
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", program, str(written)], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "store.locked"
    finally:
        await store.close()


async def test_a_path_that_cannot_be_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert (await refused(tmp_path / "file" / "towline.db")).code == "store.not_writable"


async def test_a_directory_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write anywhere, so the answer of the system is put in its mouth.
    monkeypatch.setattr(os, "access", lambda *_: False)
    error = await refused(tmp_path / "towline.db")
    assert (error.code, error.where) == ("store.not_writable", str(tmp_path))


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4080])
async def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "towline.db"
    path.write_bytes(content)
    assert (await refused(path)).code == "store.corrupt"
    assert path.read_bytes() == content


async def test_damage_in_the_middle_is_found(written: Path) -> None:
    data = bytearray(written.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    written.write_bytes(bytes(data))
    assert (await refused(written)).code == "store.corrupt"


async def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "towline.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    assert (await refused(path)).code == "store.foreign"


async def test_a_newer_database_is_refused_with_both_versions(written: Path) -> None:
    database = sqlite3.connect(written)
    database.execute("INSERT INTO schema_history VALUES (99, 'future', 0, '9.9.9')")
    database.execute("PRAGMA user_version = 99")
    database.commit()
    database.close()
    error = await refused(written)
    assert error.code == "store.newer"
    assert "9.9.9 (schema 99)" in str(error)
    assert f"{__version__} (schema {migrations()[-1].version})" in str(error)


async def test_an_older_database_is_backed_up_and_migrated(written: Path) -> None:
    last = migrations()[-1].version
    steps = [*migrations(), Migration(last + 1, "more", "CREATE TABLE more (workgroup TEXT);")]
    store = await open_store(written, ManualClock(), steps)
    assert [one.id for one in await store.workgroups.list()] == [GROUP]
    await store.close()
    backup = written.with_name(f"towline.db.backup-{last}")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    copy = sqlite3.connect(backup)
    assert copy.execute("PRAGMA user_version").fetchone() == (last,)
    assert copy.execute("SELECT workgroup FROM workgroup").fetchall() == [(GROUP,)]
    copy.close()
    history = sqlite3.connect(written)
    assert history.execute("SELECT name, towline FROM schema_history ORDER BY version").fetchall()[-1] == (
        "more",
        __version__,
    )
    history.close()
    assert (await refused(written)).code == "store.newer"


async def test_a_migration_that_fails_changes_nothing(written: Path) -> None:
    last = migrations()[-1].version
    bad = [*migrations(), Migration(last + 1, "bad", "CREATE TABLE half (x); INSERT INTO nowhere VALUES (1);")]
    assert (await refused(written, bad)).code == "store.corrupt"
    store = await open_store(written, ManualClock())
    await store.close()
    database = sqlite3.connect(written)
    assert database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)
    database.close()


def test_migrations_are_numbered_from_one_without_a_hole() -> None:
    assert [step.version for step in migrations()] == list(range(1, len(migrations()) + 1))


def test_the_workgroup_is_in_every_table_and_index(tmp_path: Path) -> None:
    database = sqlite3.connect(":memory:")
    for step in migrations():
        database.executescript(step.sql)
    books = {"schema_history", "counter", "mark", "sqlite_sequence"}
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in set(tables) - books:
        names = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        assert "workgroup" in names, table
        for index in database.execute(f"PRAGMA index_list({table})").fetchall():
            names = {row[2] for row in database.execute(f"PRAGMA index_info({index[1]})")}
            assert "workgroup" in names, index[1]
    database.close()


def test_statements_use_only_what_old_sqlite_knows() -> None:
    """Debian, Ubuntu LTS and RHEL ship down to 3.34: neither RETURNING, STRICT nor an upsert without its target."""
    folder = Path(__file__).parents[4] / "src" / "towline" / "store" / "sqlite"
    for path in [*folder.glob("*.py"), *folder.glob("migrations/*.sql")]:
        text = path.read_text("utf-8")
        assert not re.search(r"\bRETURNING\b|\bSTRICT\b|ON CONFLICT DO", text), path.name
