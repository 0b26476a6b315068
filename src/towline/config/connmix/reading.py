# SPDX-License-Identifier: Apache-2.0
"""Reading connmix's file: values with their places, keys of every generation under one name, and what is to be said of them.

Keys are compared without underscores and case, so that camelCase, the snake_case of generation 1 and what lay between
(``bytecodeExpires``) are one; :data:`RENAMED` holds what changed its name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from towline.config.connmix.guard import ACCESS, USERS, holds_access, meant_as_access, meant_as_user, normal
from towline.config.yamlfile import Document, Path, Place, dotted
from towline.errors import InvalidInput

RENAMED = {
    ("", "log"): "logging",
    ("center", "server"): "apiserver",
    ("engine", "control"): "apiserver",
    ("engine.luavm.queue", "size"): "topicsize",
    ("engine.luavm.queue", "max"): "maxtopics",
}
"""Earlier names, by section: the newer one stands right."""

_HINT = "; did you mean access.users?"
_CLEAR = f", and access must be clear{_HINT}"

NoteKind = Literal["warning", "default", "ignored", "exposed"]


class Note(NamedTuple):
    """Something about one key. ``warning``: it has no effect, or not the expected one, and somebody may miss it;
    ``default``: it is missing, and what was taken for it; ``ignored``: nothing is missing without it; ``exposed``: it opens
    a port that everybody may use."""

    kind: NoteKind
    key: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.key}: {self.text}"


class Reader:
    """Values of the file by path. What is wrong raises InvalidInput ``config.invalid`` with line and column."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.notes: list[Note] = []

    def at(self, path: Path) -> Any:
        value = self._document.value
        for word in path:
            value = value[word]
        return value

    def place(self, path: Path) -> Place:
        """Line and column of a path, or of its nearest parent."""
        words = tuple(word if isinstance(word, int) else str(word) for word in path)
        while words and words not in self._document.places:
            words = words[:-1]
        return self._document.places.get(words, Place(1, 1))

    def where(self, path: Path) -> str:
        place = self.place(path)
        return f"{self._document.name}:{place.line}:{place.column}"

    def note(self, kind: NoteKind, path: Path, text: str) -> None:
        self.notes.append(Note(kind, dotted(path), self.where(path), text))

    def invalid(self, path: Path, text: str) -> InvalidInput:
        return InvalidInput("config.invalid", f"{dotted(path) or 'the file'}: {text}", where=self.where(path))

    def text(self, path: Path | None) -> str | None:
        """A scalar as it was written; None when missing."""
        if path is None:
            return None
        value = self.at(path)
        if isinstance(value, dict | list):
            raise self.invalid(path, "must be a text")
        return self._document.texts.get(path, str(value))

    def number(self, path: Path | None, low: int = 0, high: int | None = None) -> int | None:
        """A whole number; None when missing."""
        if path is None:
            return None
        value = self.at(path)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.invalid(path, "must be a whole number")
        if value < low or (high is not None and value > high):
            raise self.invalid(path, f"must be {low} or more" if high is None else f"must be {low} to {high}")
        return value

    def items(self, path: Path | None) -> list[Path]:
        """The paths of a list's items."""
        if path is None:
            return []
        value = self.at(path)
        if not isinstance(value, list):
            raise self.invalid(path, "must be a list")
        return [(*path, index) for index in range(len(value))]


class Section:
    """One map of the file, under normalised names. What is not taken is unknown.

    :param kind: its place without indices, for :data:`RENAMED`
    """

    def __init__(self, reader: Reader, path: Path, kind: str) -> None:
        self._reader = reader
        self.path = path
        value = reader.at(path)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise reader.invalid(path, "must be a map")
        self._keys: dict[str, Path] = {}
        for key in value:
            name = normal(key)
            name = RENAMED.get((kind, name), name)
            if name in self._keys:
                if name in (ACCESS, USERS) or kind.startswith(ACCESS):
                    raise reader.invalid((*path, key), "given twice, in two spellings, and access must be clear")
                reader.note("warning", (*path, key), "given twice, in two spellings; the last one counts")
            self._keys[name] = (*path, key)
        self._asked: dict[str, str] = {}

    def take(self, name: str) -> Path | None:
        """The path of a key; None when it is missing, or empty. ``name`` as the newest generation writes it."""
        self._asked[normal(name)] = name
        path = self._keys.get(normal(name))
        return None if path is None or self._reader.at(path) is None else path

    def ignore(self, text: str, *names: str) -> None:
        """Take keys that have no meaning here."""
        for name in names:
            self._asked[normal(name)] = name
            if (path := self._keys.get(normal(name))) is not None:
                if holds_access(self._reader.at(path)):
                    raise self._reader.invalid(path, f"holds users, which have no effect here{_CLEAR}")
                self._reader.note("ignored", path, text)

    def unknown(self) -> Iterator[tuple[Path, str]]:
        """Keys that nobody took, each with a hint."""
        for name, path in self._keys.items():
            if name not in self._asked:
                close = difflib.get_close_matches(name, self._asked, n=1, cutoff=0.7)
                yield path, f"; did you mean {self._asked[close[0]]}?" if close else ""

    def refuse_unknown(self) -> None:
        """InvalidInput for what nobody took."""
        for path, hint in self.unknown():
            raise self._reader.invalid(path, f"there is no such key, and access must be clear{hint}")

    def finish(self, users: bool = False) -> None:
        """Warn of what nobody took. What was meant to say who may come is InvalidInput.

        :param users: a user may stand right in this section
        """
        for path, hint in self.unknown():
            name = normal(path[-1])
            if meant_as_access(name, self._reader.at(path)):
                raise self._reader.invalid(path, f"there is no such key{_CLEAR}")
            if users and meant_as_user(name):
                raise self._reader.invalid(path, f"there is no such key, and access must be clear{hint or _HINT}")
            self._reader.note("warning", path, f"there is no such key{hint}")
