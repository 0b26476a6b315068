# SPDX-License-Identifier: Apache-2.0
"""The modules of one Python entry: its script, and what this imports from its own folder.

They are kept apart from the process' own modules: two entries may each have a ``rooms.py``, and a changed one is loaded
beside the old, in which callbacks finish.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

MAX_SOURCE_BYTES = 4 * 1024 * 1024

_numbers = count(1)

Stamp = tuple[int, int] | None


class Modules:
    """One loading of a script. Imports, also those inside a callback, find what is in the script's folder first.

    :param name: by which the process' table of modules knows the script, for those who look there (dataclasses do); what
        it imports from its folder is ``NAME.module``
    """

    def __init__(self, script: Path, name: str | None = None) -> None:
        self.script = script
        self.name = name or f"towline_entry_{next(_numbers)}"
        self._folder = script.parent
        self._modules: dict[str, ModuleType] = {}
        self._seen: dict[Path, Stamp] = {}
        self._builtins = {**vars(builtins), "__import__": self._import}

    def run(self) -> dict[str, Any]:
        """Run the script's module level: its globals. What it raises passes, and leaves what was loaded before."""
        mine = self.name + "."
        before = {name: module for name, module in sys.modules.items() if name == self.name or name.startswith(mine)}
        try:
            return vars(self._load(self.name, self.script))
        except BaseException:
            for name in [name for name in sys.modules if name == self.name or name.startswith(mine)]:
                del sys.modules[name]
            sys.modules.update(before)
            raise

    def changed(self) -> bool:
        """Whether a file was changed, or one that an import looked for has come. One that is missing is being written."""
        return any((now := _stamp(path)) is not None and now != then for path, then in self._seen.items())

    def is_mine(self, filename: str) -> bool:
        """Whether a traceback's line is in one of these files."""
        return Path(filename) in self._seen

    # -- inside

    def _load(self, name: str, path: Path, package: str = "") -> ModuleType:
        self._seen[path] = _stamp(path)
        source = path.read_bytes()
        if len(source) > MAX_SOURCE_BYTES:
            raise ImportError(f"{path} has {len(source)} bytes; the limit is {MAX_SOURCE_BYTES}")
        code = compile(source, str(path), "exec")
        module = ModuleType(name)
        module.__file__ = str(path)
        module.__package__ = package
        vars(module)["__builtins__"] = self._builtins
        sys.modules[name] = module
        if name != self.name:
            self._modules[name.removeprefix(self.name + ".")] = module
        exec(code, vars(module))  # noqa: S102 - the operator's own file, named by them
        return module

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if level:
            package = str((globals or {}).get("__package__") or "")
            parents = package.split(".") if package else []
            if len(parents) < level:
                raise ImportError("attempted relative import beyond the script's folder")
            name = ".".join([*parents[: len(parents) - level + 1], *([name] if name else [])])
        first = name.partition(".")[0]
        top = self._find(first)
        if top is None:
            if level:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return builtins.__import__(name, globals, locals, fromlist or (), 0)
        module = top
        for end in (at for at, char in enumerate(name + ".") if char == "." and at > len(first)):
            found = self._find(name[:end])
            if found is None:
                raise ModuleNotFoundError(f"No module named {name[:end]!r}", name=name[:end])
            module = found
        if not fromlist:
            return top
        if hasattr(module, "__path__"):
            for item in fromlist:
                if item != "*" and not hasattr(module, item):
                    self._find(f"{name}.{item}")
        return module

    def _find(self, name: str) -> ModuleType | None:
        """A module of the folder, loaded if need be."""
        module = self._modules.get(name)
        if module is not None:
            return module
        parent, _, last = name.rpartition(".")
        base = self._folder.joinpath(*name.split("."))
        for path, package in ((base / "__init__.py", name), (base.with_name(base.name + ".py"), parent)):
            if _stamp(path) is None or path == self.script:
                self._seen.setdefault(path, None)
                continue
            try:
                module = self._load(f"{self.name}.{name}", path, package)
                if package == name:
                    module.__path__ = [str(base)]
            except BaseException:
                self._modules.pop(name, None)
                raise
            if parent:
                setattr(self._modules[parent], last, module)
            return module
        return None


def _stamp(path: Path) -> Stamp:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size
