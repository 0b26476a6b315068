# SPDX-License-Identifier: Apache-2.0
"""Settings of a running role: where they came from, and what follows when that file is saved.

The file is looked at every second, by its stamp and then by its content, so that an editor's rename, a copy and a mounted
ConfigMap are all seen. What may change takes effect; the rest is named once in the log. A file that cannot be read or is
wrong leaves everything as it was, and the log says where it is wrong.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from towline.app.connmix import read_connmix
from towline.app.settings import Settings, default_file, load_settings
from towline.config.changes import merge_live
from towline.config.connmix.reading import Note
from towline.config.loader import Loaded
from towline.errors import InvalidInput

LOOK_S = 1.0
SETTLE_S = 0.1
"""A file that changed is read when it has been still for this long: a half-written one may be valid, and mean less."""

log = logging.getLogger("towline.app")
_NOTES = {"warning": logging.WARNING, "default": logging.INFO}


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What settings were made of, besides the environment."""

    file: str | None = None
    form: Literal["towline", "connmix"] = "towline"
    flags: dict[str, Any] = {}

    @classmethod
    def of(cls, file: Path | None, flags: dict[str, Any], form: Literal["towline", "connmix"] = "towline") -> Origin:
        """From what the command line was given; the default file when that is there."""
        path = file or (default_file() if form == "towline" else None)
        texts = {name: str(value) if isinstance(value, Path) else value for name, value in flags.items()}
        return cls(file=str(path) if path else None, form=form, flags=texts)

    def load(self) -> Settings:
        """The settings as they are now. InvalidInput ``config.*``."""
        loaded, notes = self.read()
        for note in notes:
            if note.kind in _NOTES:
                log.log(_NOTES[note.kind], "%s", note)
        return loaded.settings

    def read(self) -> tuple[Loaded[Settings], tuple[Note, ...]]:
        """The settings with their places, and what is to be said of the file. InvalidInput ``config.*``."""
        path = Path(self.file) if self.file else None
        if path is None or self.form == "towline":
            return load_settings(path, flags=self.flags), ()
        translated = read_connmix(path)
        return load_settings(translated.document, flags=self.flags), translated.notes


class Given(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a role finds on its standard input."""

    origin: Origin | None = None


class Watched:
    """One file's content, as last seen."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._stamp: tuple[int, ...] = ()
        self._digest = b""
        self.missing = False
        self.changed()

    def changed(self) -> bool:
        """Whether the content is another than at the last call. False while the file is away."""
        try:
            stat = os.stat(self.path)
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            self.missing = False
            if stamp == self._stamp:
                return False
            digest = hashlib.sha256(Path(self.path).read_bytes()).digest()
        except OSError:
            self.missing = True
            return False
        self._stamp = stamp
        if digest == self._digest:
            return False
        self._digest = digest
        return True


class Live:
    """Follows the file that a role's settings came from, and files that its settings name.

    :param sections: what of the settings is this role's: changes elsewhere are another process's to tell of
    :param look_s: how often it looks
    """

    def __init__(
        self, settings: Settings, origin: Origin | None, sections: tuple[str, ...], look_s: float = LOOK_S
    ) -> None:
        self._sections = sections
        self._origin = origin if origin is not None and origin.file else None
        self._look_s = look_s
        self._apply: list[Callable[[Settings], None]] = []
        self._files: dict[str, tuple[Watched, Callable[[], None]]] = {}
        self._file: Watched | None = None
        self._said: tuple[str, ...] = ()
        self.settings = settings
        self._base: Settings | None = None
        if self._origin is not None:
            assert self._origin.file is not None
            self._file = Watched(self._origin.file)
            self._begin(self._origin)

    def _begin(self, origin: Origin) -> None:
        """A child that is started again is given what was true when its supervisor started: take what is now."""
        try:
            self._base = origin.load()
        except InvalidInput as error:
            log.error("the settings file is wrong; what was given stays in force: %s", error)
            return
        self.settings = merge_live(self.settings, self._base).settings

    def on_change(self, apply: Callable[[Settings], None]) -> None:
        """Call ``apply`` with the new settings after each change that may take effect."""
        self._apply.append(apply)

    def follow(self, paths: Iterable[str], changed: Callable[[], None]) -> None:
        """Call ``changed`` when the content of one of these files is another one."""
        for path in paths:
            self._files[path] = (Watched(path), changed)

    async def watch(self) -> None:
        """Look, for ever. Only for files that there are to look at."""
        while self._file is not None or self._files:
            await asyncio.sleep(self._look_s)
            changed, calls = await asyncio.to_thread(self._look)
            if changed:
                await self._settled()
                self.reload()
            for call in dict.fromkeys(calls):
                call()

    def _look(self) -> tuple[bool, list[Callable[[], None]]]:
        was_missing = self._file is not None and self._file.missing
        changed = self._file is not None and self._file.changed()
        if self._file is not None and self._file.missing and not was_missing:
            log.warning("the settings file is gone; what it said stays in force", extra={"file": self._file.path})
        return changed, [call for watched, call in self._files.values() if watched.changed()]

    async def _settled(self) -> None:
        assert self._file is not None
        await asyncio.sleep(SETTLE_S)
        while await asyncio.to_thread(self._file.changed):
            await asyncio.sleep(SETTLE_S)

    def reload(self) -> None:
        """Read the file and let take effect what may."""
        origin = self._origin
        if origin is None or origin.file is None:
            return
        try:
            if not Path(origin.file).read_text("utf-8").strip():
                raise InvalidInput("config.empty", "the file is empty", where=origin.file)
            new = origin.load()
        except (OSError, UnicodeDecodeError) as error:
            log.error("the settings file cannot be read; what was in force stays: %s", error)
            return
        except InvalidInput as error:
            log.error("the settings file is wrong; what was in force stays: %s", error)
            return
        merged = merge_live(self.settings, new)
        waiting = self._ours(merge_live(self._base, new).waiting) if self._base is not None else ()
        self.settings = merged.settings
        if merged.applied:
            for apply in self._apply:
                apply(self.settings)
            if applied := self._ours(merged.applied):
                log.info("settings changed", extra={"keys": ", ".join(applied)})
        if waiting and waiting != self._said:
            log.warning("these settings changed and need a restart", extra={"keys": ", ".join(waiting)})
        self._said = waiting

    def _ours(self, keys: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(key for key in keys if key.split(".", 1)[0] in self._sections)
