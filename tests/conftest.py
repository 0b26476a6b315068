# SPDX-License-Identifier: Apache-2.0
"""A test that needs a part of the machine says so by a mark; without the part it is skipped, and in CI it fails."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


def find_program(*names: str) -> str | None:
    """A program of the environment, or of PATH."""
    for name in names:
        if (BIN / name).exists():
            return str(BIN / name)
        found = shutil.which(name)
        if found:
            return found
    return None


NODE_CLIENT = Path(__file__).parent / "node" / "node_modules" / "socket.io-client"


def _missing(mark: str) -> str | None:
    if mark == "needs_nats" and not find_program("nats-server"):
        return "nats-server is not installed (package nats-server)"
    if mark == "needs_browser" and not find_program("chromium", "chromium-browser", "google-chrome"):
        return "no browser is installed (package chromium)"
    if mark == "needs_node" and not (find_program("node") and NODE_CLIENT.exists()):
        return "Node or its socket.io client is not installed (make test installs them)"
    if mark == "needs_redis" and not find_program("redis-server"):
        return "redis-server is not installed (package redis-server)"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in ("needs_nats", "needs_browser", "needs_node", "needs_redis"):
        if item.get_closest_marker(mark) and (reason := _missing(mark)):
            if os.environ.get("CI"):
                pytest.fail(f"in CI nothing may be missing: {reason}", pytrace=False)
            pytest.skip(reason)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Soaks run in their short form by default, last."""
    items.sort(key=lambda item: item.get_closest_marker("soak") is not None)
