# SPDX-License-Identifier: Apache-2.0
"""Every test here runs on both event loops: production takes uvloop, and their transports differ."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests.unit.bus.conftest import nats_server, world

__all__ = ["nats_server", "world"]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
