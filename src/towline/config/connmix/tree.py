# SPDX-License-Identifier: Apache-2.0
"""The tree of our settings that is built from connmix's file, with the place and the name there of each value."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from towline.config.yamlfile import Path, Place


class Ours:
    """Values by path; ``places`` leads into their file, ``names`` says their key."""

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}
        self.places: dict[Path, Place] = {}
        self.names: dict[Path, str] = {}

    def put(self, path: Path, value: Any, name: str, place: Place) -> None:
        """Set one value. Maps and lists on the way are made, and stand where the first value in them does."""
        tree: Any = self.tree
        for word, following in pairwise(path):
            if isinstance(tree, list):
                while len(tree) <= int(word):
                    tree.append({})
                tree = tree[int(word)]
            else:
                tree = tree.setdefault(word, [] if isinstance(following, int) else {})
        for length in range(1, len(path)):
            self.places.setdefault(path[:length], place)
        if isinstance(tree, list):
            tree.append(value)
        else:
            tree[path[-1]] = value
        self.mark(path, name, place)

    def append(self, path: Path, name: str, place: Place) -> Path:
        """Add an empty map to a list; its path."""
        held: Any = self.tree
        for word in path:
            held = held.get(word, {}) if isinstance(held, dict) else held[word]
        item = (*path, len(held))
        self.put(item, {}, name, place)
        return item

    def mark(self, path: Path, name: str, place: Place) -> None:
        """Say where something stands that is no value, or not set."""
        self.places[path] = place
        self.names[path] = name
