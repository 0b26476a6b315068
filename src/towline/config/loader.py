# SPDX-License-Identifier: Apache-2.0
"""Settings in layers: defaults < file < environment < flags.

``TOWLINE_PORTAL__PORT=9000`` sets ``portal.port``. An error names the key and where its value came
from: ``towline.yaml:12:9``, the variable, or the flag.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import yaml

from towline.config.schema import is_text, leaf_type, settings
from towline.config.yamlfile import Document, Path, dotted, parse
from towline.errors import InvalidInput

T = TypeVar("T", bound=msgspec.Struct)

PREFIX = "TOWLINE_"
RESERVED = frozenset(
    {
        "TOWLINE_URL",
        "TOWLINE_TOKEN",
        "TOWLINE_PLUGIN_CREDENTIAL",
        "TOWLINE_SKIP_PORTAL",
        "TOWLINE_ENROLMENT",
        "TOWLINE_PLUGIN_URL",
    }
)
"""Variables with this prefix that are not settings."""


class Flag(NamedTuple):
    """A value from the command line: the flag's name and the setting it stands for."""

    name: str
    key: str
    value: Any


class Loaded(NamedTuple, Generic[T]):
    """The settings, and for each key that is not a default, where its value came from."""

    settings: T
    sources: dict[str, str]
    document: Document = Document(None, {}, "")

    def locate(self, key: str, *details: str) -> tuple[str | None, str]:
        """Where a setting's value came from, None when nothing gave it; and its key, in the file's own words.

        :param details: what to look for first: parts of the value that have a place of their own
        """
        path = _path(key)
        for detail in details:
            if (*path, detail) in self.document.names and _from_file(path, self.sources, self.document):
                path = (*path, detail)
        return _origin(path, self.sources, self.document)

    def in_words(self, text: str) -> str:
        """A message with the keys in it in the file's own words."""
        return _in_words(text, self.document)


def load(
    kind: type[T],
    *,
    file: tuple[str, str] | Document | None = None,
    environ: Mapping[str, str] | None = None,
    flags: list[Flag] | None = None,
) -> Loaded[T]:
    """Build ``kind`` from the layers.

    :param file: the file's name (for messages) and its text, or what was made of it
    :raises InvalidInput: ``config.unknown_key``, ``config.invalid``, ``config.syntax``, ``config.duplicate_key`` …
    """
    document = (
        file if isinstance(file, Document) else Document(None, {}, "") if file is None else parse(file[1], file[0])
    )
    value = document.value if document.value is not None else {}
    if not isinstance(value, dict):
        raise InvalidInput("config.invalid", "the file must hold a map of sections", where=document.where(()))
    _check_keys(kind, value, (), document)
    sources = {dotted(path): document.where(path) for path in document.places if path and _is_leaf(value, path)}
    tree: dict[str, Any] = _copy(value)
    for name, text in sorted((environ or {}).items()):
        if name.startswith(PREFIX) and name not in RESERVED and not name.startswith("TOWLINE_TEST_"):
            _put_variable(kind, tree, sources, name, text)
    for flag in flags or []:
        _put(tree, tuple(flag.key.split(".")), flag.value)
        _say(sources, flag.key, flag.name)
    _check_finite(tree, (), sources, document)
    try:
        return Loaded(msgspec.convert(tree, kind, strict=True), sources, document)
    except msgspec.ValidationError as error:
        raise _explain(error, sources, document) from None


def _put_variable(
    kind: type[msgspec.Struct], tree: dict[str, Any], sources: dict[str, str], name: str, text: str
) -> None:
    path = tuple(name.removeprefix(PREFIX).lower().split("__"))
    info = leaf_type(kind, path)
    if info is None:
        raise InvalidInput(
            "config.unknown_key",
            f"there is no setting {'.'.join(path)}",
            where=name,
            hint=_guess(kind, ".".join(path)),
        )
    if is_text(info):
        value: Any = text
    else:
        try:
            value = parse(text, name).value
        except InvalidInput as error:
            raise InvalidInput("config.invalid", error.message, where=name) from None
    _put(tree, path, value)
    _say(sources, ".".join(path), name)


def _say(sources: dict[str, str], key: str, where: str) -> None:
    """A value from outside stands for all that the file has below its key."""
    for below in [one for one in sources if one.startswith((f"{key}.", f"{key}["))]:
        del sources[below]
    sources[key] = where


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for word in path[:-1]:
        below = tree.get(word)
        if not isinstance(below, dict):
            below = {}
            tree[word] = below
        tree = below
    tree[path[-1]] = value


def _check_keys(kind: type[msgspec.Struct], value: dict[Any, Any], path: Path, document: Document) -> None:
    """Name the first key that no Struct knows, at its line and column."""
    known = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for key, below in value.items():
        here = (*path, key)
        if key not in known:
            hint = _guess(kind, str(key))
            raise InvalidInput(
                "config.unknown_key",
                f"there is no setting {dotted(here)}",
                where=document.where(here),
                hint=hint,
            )
        for struct in _structs(known[key].type):
            if isinstance(below, dict):
                _check_keys(struct, below, here, document)
            elif isinstance(below, list):
                for index, item in enumerate(below):
                    if isinstance(item, dict):
                        _check_keys(struct, item, (*here, index), document)


def _structs(kind: Any) -> list[type[msgspec.Struct]]:
    """The one Struct inside a field's type, if there is exactly one."""
    found: list[type[msgspec.Struct]] = []
    todo = [msgspec.inspect.type_info(kind)]
    while todo:
        info = todo.pop()
        match info:
            case msgspec.inspect.Metadata(type=inner):
                todo.append(inner)
            case msgspec.inspect.UnionType(types=types):
                todo.extend(types)
            case msgspec.inspect.ListType(item_type=inner) | msgspec.inspect.VarTupleType(item_type=inner):
                todo.append(inner)
            case msgspec.inspect.StructType(cls=struct):
                found.append(struct)
            case _:
                pass
    return found if len(found) == 1 else []


def _guess(kind: type[msgspec.Struct], key: str) -> str | None:
    names = [setting.key for setting in settings(kind)]
    names += [name.rsplit(".", 1)[-1] for name in names] + [name.split(".", 1)[0] for name in names]
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else "see: towline config reference"


_ACCOUNT = re.compile(r"(?<=://)([^/@:\s]*):[^/@\s]*@")
"""Account and password inside an address."""
_FIELD = re.compile(r"(?P<name>[a-z][a-z0-9_]*(?:\[\d+\]\.[a-z0-9_]+)?): (?P<text>.*)", re.DOTALL)
_KEY = re.compile(r"\b[a-z0-9_]+(?:\.[a-z0-9_]+|\[\d+\])+")
_WORDS = re.compile(r"([A-Za-z0-9_]+)|\[(\d*|\.\.\.)\]")
_AT = re.compile(r"(?P<text>.*?) - at `\$(?P<path>[^`]*)`$", re.DOTALL)


def _explain(error: msgspec.ValidationError, sources: dict[str, str], document: Document) -> InvalidInput:
    match = _AT.match(str(error))
    if match is None:
        return InvalidInput("config.invalid", str(error), where=document.name or None)
    path, text = _path(match["path"].removeprefix(".")), match["text"]
    if field := _FIELD.match(text):  # a Struct's own check names the field
        path, text = (*path, *_path(field["name"])), field["text"]
    where, key = _origin(path, sources, document)
    return InvalidInput("config.invalid", f"{key}: {_in_words(text, document)}", where=where)


def _path(key: str) -> Path:
    """The inverse of :func:`dotted`."""
    return tuple(name or (int(index) if index.isdigit() else index) for name, index in _WORDS.findall(key))


def _in_words(text: str, document: Document) -> str:
    return _KEY.sub(lambda found: document.names.get(_path(found[0]), found[0]), text) if document.names else text


def _given(path: Path, sources: dict[str, str]) -> str | None:
    """What gave the value at ``path``, or what holds it; None for a default."""
    keys = (dotted(path[:length]) for length in range(len(path), 0, -1))
    return next((sources[key] for key in keys if key in sources), None)


def _from_file(path: Path, sources: dict[str, str], document: Document) -> bool:
    """Whether the value at ``path`` is the file's, or nobody's while there is a file."""
    given = _given(path, sources)
    return bool(document.name) and (given is None or given.startswith(f"{document.name}:"))


def _origin(path: Path, sources: dict[str, str], document: Document) -> tuple[str | None, str]:
    """Where the value at ``path``, or what holds it, came from; and its key in the words of whoever gave it."""
    if _from_file(path, sources, document):
        return document.where(path), document.named(path)
    return _given(path, sources), dotted(path)


def _check_finite(value: Any, path: Path, sources: dict[str, str], document: Document) -> None:
    """Infinity is a number to YAML, but no length of time and no size."""
    if isinstance(value, float) and not math.isfinite(value):
        where, key = _origin(path, sources, document)
        raise InvalidInput("config.invalid", f"{key}: {value} is not a finite number", where=where)
    for word, below in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        _check_finite(below, (*path, word), sources, document)


def _is_leaf(value: Any, path: Path) -> bool:
    for word in path:
        try:
            value = value[word]
        except (KeyError, IndexError, TypeError):
            return False
    return not isinstance(value, dict)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(below) for key, below in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def dump(loaded: Loaded[T], *, reveal: bool = False) -> str:
    """The settings as YAML, each value that is not a default with a comment saying where it came from."""
    secret = {setting.key for setting in settings(type(loaded.settings)) if setting.secret}
    tree = msgspec.to_builtins(loaded.settings)
    lines: list[str] = []
    _dump(tree, (), lines, loaded.sources, None if reveal else frozenset(secret))
    return "\n".join(lines) + "\n"


def _dump(
    tree: dict[str, Any],
    path: tuple[str, ...],
    lines: list[str],
    sources: dict[str, str],
    secret: frozenset[str] | None,
) -> None:
    """``secret``: keys whose values are hidden; None shows everything."""
    for key, value in tree.items():
        here = (*path, str(key))
        indent = "  " * len(path)
        if isinstance(value, dict) and value:
            lines.append(f"{indent}{key}:")
            _dump(value, here, lines, sources, secret)
            continue
        name = ".".join(here)
        shown = value if secret is None else _masked(value, name, secret)
        text = (
            yaml.safe_dump(shown, default_flow_style=True, width=10_000, allow_unicode=True)
            .removesuffix("...\n")
            .strip()
        )
        source = sources.get(name)
        lines.append(f"{indent}{key}: {text}" + (f"  # {source}" if source else ""))


def _masked(value: Any, name: str, secret: frozenset[str]) -> Any:
    """``value`` without what is secret in it, however deep it lies in lists."""
    if name in secret and value:
        return "********"
    if isinstance(value, list | tuple):
        return [_masked(item, f"{name}[]", secret) for item in value]
    if isinstance(value, dict):
        return {key: _masked(below, f"{name}.{key}", secret) for key, below in value.items()}
    return _ACCOUNT.sub(r"\1:********@", value) if isinstance(value, str) else value
