# SPDX-License-Identifier: Apache-2.0
"""YAML with places: what a key's value is, and the line and column it was written at.

YAML 1.1's words ``on``, ``off``, ``yes``, ``no`` stay text: only ``true`` and ``false`` are booleans.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from towline.errors import InvalidInput

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
MAX_PLACES = 200_000
"""Values of one file, those behind aliases counted each time."""


class Place(NamedTuple):
    """Where something stands: 1-based line and column."""

    line: int
    column: int


Path = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """``gateway.users[0].host``"""
    text = ""
    for word in path:
        text += f"[{word}]" if isinstance(word, int) else f".{word}" if text else str(word)
    return text


_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BaseLoader):  # type: ignore[misc]
    """Safe loader whose only boolean words are true and false."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in _BaseLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


class Document(NamedTuple):
    """A parsed file: plain values, and the place of every key path.

    ``texts`` holds scalars as they were written: ``0123`` is 83 in ``value``. ``names``: what the file calls a key, where
    that is another word than ours.
    """

    value: Any
    places: dict[Path, Place]
    name: str
    texts: Mapping[Path, str] = MappingProxyType({})
    names: Mapping[Path, str] = MappingProxyType({})

    def named(self, path: Path) -> str:
        """The key, or the nearest one above it, in the file's own words."""
        found = next((self.names[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.names), None)
        return dotted(path) if found is None else found

    def where(self, path: Path) -> str:
        """``name:line:column`` of the path, or of its nearest parent."""
        while path and path not in self.places:
            path = path[:-1]
        place = self.places.get(path)
        return self.name if place is None else f"{self.name}:{place.line}:{place.column}"


def parse(text: str, name: str) -> Document:
    """Parse one YAML document. InvalidInput ``config.syntax`` or ``config.duplicate_key`` names line and column."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise InvalidInput("config.too_large", f"larger than {MAX_BYTES} bytes", where=name)
    try:
        root = yaml.compose(text, _Loader)
        if root is None:
            return Document(None, {}, name)
        places: dict[Path, Place] = {}
        texts: dict[Path, str] = {}
        _walk(root, (), places, texts, name, 0, set())
        value = yaml.load(text, _Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = name if mark is None else f"{name}:{mark.line + 1}:{mark.column + 1}"
        hint = "put a value that begins with * in quotes: '*'" if _at_star(text, mark) else None
        message = f"not valid YAML: {error.problem or error.context}"
        raise InvalidInput("config.syntax", message, where=where, hint=hint) from None
    except yaml.reader.ReaderError as error:
        # It counts in bytes or in characters, as it is built.
        found = yaml.reader.Reader.NON_PRINTABLE.search(text)
        before = text[: found.start() if found else error.position]
        where = f"{name}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
        character = f"U+{ord(found[0]):04X}" if found else "a character"
        raise InvalidInput("config.syntax", f"not valid YAML: {character} must not stand in it", where=where) from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput("config.syntax", f"not valid YAML: {error}", where=name) from None
    return Document(value, places, name, texts)


def _at_star(text: str, mark: Any) -> bool:
    """Whether an error is about an asterisk that stands for itself, which YAML takes for an alias."""
    return mark is not None and "*" in text[max(0, mark.index - 1) : mark.index + 1]


def _walk(
    node: yaml.Node,
    path: Path,
    places: dict[Path, Place],
    texts: dict[Path, str],
    name: str,
    depth: int,
    open_nodes: set[int],
) -> None:
    mark = node.start_mark
    places.setdefault(path, Place(mark.line + 1, mark.column + 1))
    if len(places) > MAX_PLACES:
        raise InvalidInput("config.too_large", f"more than {MAX_PLACES} values", where=name)
    if depth > MAX_DEPTH or id(node) in open_nodes:
        where = f"{name}:{mark.line + 1}:{mark.column + 1}"
        raise InvalidInput(
            "config.too_deep", f"nested deeper than {MAX_DEPTH} levels, or refers to itself", where=where
        )
    open_nodes.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key, value in node.value:
            word = key.value if isinstance(key, yaml.ScalarNode) else None
            start = key.start_mark
            if word is not None and word != "<<":
                if word in seen:
                    where = f"{name}:{start.line + 1}:{start.column + 1}"
                    raise InvalidInput("config.duplicate_key", f"the key {word!r} is given twice", where=where)
                seen.add(word)
                places[(*path, word)] = Place(start.line + 1, start.column + 1)
                _walk(value, (*path, word), places, texts, name, depth + 1, open_nodes)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*path, index), places, texts, name, depth + 1, open_nodes)
    elif isinstance(node, yaml.ScalarNode):
        texts[path] = node.value
    open_nodes.discard(id(node))
