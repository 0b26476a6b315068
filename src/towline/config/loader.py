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
from towline.config.yamlfile import Document, Path, parse
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
    sources = {_dotted(path): document.where(path) for path in document.places if path and _is_leaf(value, path)}
    tree: dict[str, Any] = _copy(value)
    for name, text in sorted((environ or {}).items()):
        if name.startswith(PREFIX) and name not in RESERVED and not name.startswith("TOWLINE_TEST_"):
            _put_variable(kind, tree, sources, name, text)
    for flag in flags or []:
        _put(tree, tuple(flag.key.split(".")), flag.value)
        sources[flag.key] = flag.name
    _check_finite(tree, (), sources, document)
    try:
        return Loaded(msgspec.convert(tree, kind, strict=True), sources)
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
    key = ".".join(path)
    sources[key] = name


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
                f"there is no setting {_dotted(here)}",
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
_AT = re.compile(r"(?P<text>.*?) - at `\$(?P<path>[^`]*)`$", re.DOTALL)


def _explain(error: msgspec.ValidationError, sources: dict[str, str], document: Document) -> InvalidInput:
    match = _AT.match(str(error))
    if match is None:
        return InvalidInput("config.invalid", str(error), where=document.name or None)
    words: list[str | int] = []
    for name, index in re.findall(r"\.([A-Za-z0-9_]+)|\[(\d*|\.\.\.)\]", match["path"]):
        words.append(name if name else int(index) if index.isdigit() else index)
    text = match["text"]
    if field := _FIELD.match(text):  # a Struct's own check names the field
        words.append(field["name"])
        text = field["text"]
    path = tuple(words)
    return InvalidInput("config.invalid", f"{_dotted(path)}: {text}", where=_origin(path, sources, document))


def _origin(path: Path, sources: dict[str, str], document: Document) -> str | None:
    """Where the value at ``path``, or what holds it, came from."""
    parts = _dotted(path).split(".")
    where = next(
        (sources[".".join(parts[:n])] for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in sources),
        None,
    )
    return document.where(path) if where is None and document.name else where


def _check_finite(value: Any, path: Path, sources: dict[str, str], document: Document) -> None:
    """Infinity is a number to YAML, but no length of time and no size."""
    if isinstance(value, float) and not math.isfinite(value):
        where = _origin(path, sources, document)
        raise InvalidInput("config.invalid", f"{_dotted(path)}: {value} is not a finite number", where=where)
    for word, below in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        _check_finite(below, (*path, word), sources, document)


def _dotted(path: Path) -> str:
    text = ""
    for word in path:
        text += f"[{word}]" if isinstance(word, int) else f".{word}" if text else str(word)
    return text


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
