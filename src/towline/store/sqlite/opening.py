# SPDX-License-Identifier: Apache-2.0
"""Opening a database file: lock, checks, backup, migrations. Everything that can be wrong is one line for a person."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

from towline import __version__
from towline.errors import StartError

APPLICATION_ID: Final = 0x54574C4E
"""``TWLN``: marks our files."""
TOPICS_APPLICATION_ID: Final = 0x54574C51
"""``TWLQ``: marks those with durable topics."""

_AUTOCHECKPOINT_PAGES: Final = 16_000
_QUICK_CHECK_BYTES: Final = 32 * 1024 * 1024
"""Files up to this size are checked as a whole at each start (a fraction of a second)."""
_BUSY_MS: Final = 5000
_MIGRATION: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


class Migration(NamedTuple):
    """A step of the schema; versions count from 1 without a hole."""

    version: int
    name: str
    sql: str


def migrations(folder: str = "migrations") -> list[Migration]:
    """The migrations that this version knows, in order; ``folder`` lies beside this module."""
    found = []
    for entry in resources.files("towline.store.sqlite").joinpath(folder).iterdir():
        match = _MIGRATION.fullmatch(entry.name)
        if match:
            found.append(Migration(int(match[1]), entry.name.removesuffix(".sql"), entry.read_text("utf-8")))
    return sorted(found)


class Lock:
    """``<file>.lock``, held while the database is open; the system releases it when the process dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _not_writable(path.parent, error) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(self._file, 32, 0).decode("ascii", "replace").strip()
            os.close(self._file)
            raise StartError(
                "store.locked",
                f"another Towline process{f' (pid {owner})' if owner.isdigit() else ''} uses this database",
                where=str(path.parent),
                hint="stop it, or give this one another data directory",
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give it back. The file stays: removing it would race with another process that waits for it."""
        os.close(self._file)


def prepare(path: Path) -> None:
    """The directory exists (made with mode 0700) and can be written."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(path.parent, error) from None
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise _not_writable(path.parent, PermissionError(13, "Permission denied"))


def open_writer(
    path: Path, now_us: int, steps: list[Migration] | None = None, application_id: int = APPLICATION_ID
) -> sqlite3.Connection:
    """The one connection that writes, on a database of the newest schema. The caller holds the lock."""
    steps = migrations() if steps is None else steps
    if not path.exists():
        # SQLite would make it with the umask's mode; what follows (-wal, -shm) takes this file's mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = _connect(path, f"file:{_quoted(path)}?mode=rw")
    try:
        _check(connection, path, steps, application_id)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_AUTOCHECKPOINT_PAGES}")
        connection.execute("PRAGMA cache_size = -16384")
        _migrate(connection, path, steps, now_us, application_id)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise _damaged(path, error) from None
    except StartError:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads; it sees what was committed when its query begins."""
    connection = _connect(path, f"file:{_quoted(path)}?mode=ro")
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA cache_size = -8192")
    return connection


def _connect(path: Path, uri: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    except sqlite3.Error as error:
        raise _damaged(path, error) from None
    return connection


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _check(connection: sqlite3.Connection, path: Path, steps: list[Migration], application_id: int) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and application != application_id:
        raise StartError("store.foreign", "this is a database of another program", where=str(path))
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > steps[-1].version:
        row = connection.execute("SELECT towline FROM schema_history ORDER BY version DESC LIMIT 1").fetchone()
        raise StartError(
            "store.newer",
            f"written by Towline {row[0] if row else '?'} (schema {version}); "
            f"this is Towline {__version__} (schema {steps[-1].version})",
            where=str(path),
            hint="run that version or a later one, or restore a backup",
        )
    if path.stat().st_size <= _QUICK_CHECK_BYTES:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise _damaged(path, found)


def _migrate(
    connection: sqlite3.Connection, path: Path, steps: list[Migration], now_us: int, application_id: int
) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    missing = [step for step in steps if step.version > version]
    if not missing:
        return
    if version:
        _backup(connection, path.with_name(f"{path.name}.backup-{version}"))
    for step in missing:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{step.sql}\n;"
            f"PRAGMA application_id = {application_id};\nPRAGMA user_version = {step.version};\n"
            f"INSERT INTO schema_history VALUES ({step.version}, '{step.name}', {int(now_us)}, '{__version__}');\n"
            "COMMIT;"
        )


def _backup(connection: sqlite3.Connection, target: Path) -> None:
    """A copy in one piece: written beside, then renamed."""
    part = target.with_name(target.name + ".part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        copy = sqlite3.connect(part)
        try:
            connection.backup(copy)
        finally:
            copy.close()
        os.replace(part, target)
    except (OSError, sqlite3.Error) as error:
        raise StartError(
            "store.backup_failed", f"the backup before migrating cannot be written: {error}", where=str(target)
        ) from None


def _damaged(path: Path, error: object) -> StartError:
    text = str(error)
    if isinstance(error, sqlite3.OperationalError) and ("readonly" in text or "unable to open" in text):
        return _not_writable(path, error)
    if "full" in text and isinstance(error, sqlite3.OperationalError):
        return StartError("store.full", "the disk is full", where=str(path))
    return StartError(
        "store.corrupt",
        f"not a readable database: {text.splitlines()[0] if text else 'unknown error'}",
        where=str(path),
        hint="restore a backup, or move the file away to start anew",
    )


def _not_writable(path: Path, error: object) -> StartError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return StartError("store.not_writable", f"cannot be written: {reason}", where=str(path))
