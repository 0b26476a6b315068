# SPDX-License-Identifier: Apache-2.0
"""The host plugin put together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import psutil

from towline.clock import Clock, SystemClock
from towline.plugins.host import commands, facts
from towline.plugins.host.samples import SAMPLE_EVERY_S, STATES_EVERY_S, Row, Sampler, declared_metrics, send_times
from towline.sdk import Credential, Event, Module, Param, Plugin, State
from towline.sdk.outbox import split_items

NAME = "towline-host"
VERSION = "1.0.0"
MODULE = "host"
MODULE_ROOM = 1750
"""Bytes for one message's metrics: 2048 less signature and envelope."""

Sleep = Callable[[float], Awaitable[None]]


def build(
    credential: Credential,
    *,
    url: str | None = None,
    allow_reboot: bool = False,
    clock: Clock | None = None,
    sleep: Sleep = asyncio.sleep,
) -> Plugin:
    """The plugin, ready to run.

    :param allow_reboot: without it the reboot command is hidden and rejected
    """
    clock = clock or SystemClock()
    plugin = Plugin(credential, name=NAME, version=VERSION, display_name="Host", url=url, clock=clock)
    module = plugin.module(
        MODULE,
        display_name="Host",
        description="The machine itself",
        properties=facts.properties(allow_reboot=allow_reboot),
        states=[
            State("uptime", display_category="System", display_name="Uptime"),
            State("load", display_category="System", display_name="Load, 1, 5 and 15 minutes"),
            State("filesystems", "table", display_category="Disk", display_name="File systems"),
        ],
        metrics=declared_metrics(),
        events=[Event("started", display_category="System", display_name="The host plugin started")],
    )
    _declare_commands(module, allow_reboot=allow_reboot)

    @plugin.background
    async def measure() -> None:
        await report(plugin, clock, sleep)

    return plugin


async def report(plugin: Plugin, clock: Clock, sleep: Sleep) -> None:
    """Sample and send until cancelled."""
    psutil.cpu_percent()  # the first figure needs a moment before it
    await sleep(0.2)
    sampler = Sampler()
    start = clock.monotonic()
    sends = iter(send_times())
    next_sample, next_send, next_states = 0, next(sends), 0
    await plugin.event("started", f"up since {facts.duration(_uptime(clock))}")
    while True:
        await sleep(max(0.0, start + min(next_sample, next_send) - clock.monotonic()))
        now = clock.monotonic()
        # The tolerance keeps rounding from asking for a sleep too short to move the clock.
        elapsed, epoch = now - start + 1e-6, clock.now_us() // 1_000_000
        if elapsed >= next_sample:
            sampler.sample(now, epoch)
            # After a pause (a suspended machine) go on from here, without a burst.
            next_sample = max(next_sample + SAMPLE_EVERY_S, _floor(elapsed, SAMPLE_EVERY_S))
        if elapsed >= next_send:
            await plugin.metrics(fitting(sampler.take(now, epoch)))
            while next_send <= elapsed:
                next_send = next(sends)
        if elapsed >= next_states:
            await plugin.states(facts.states())
            next_states = _floor(elapsed, STATES_EVERY_S) + STATES_EVERY_S


def fitting(rows: list[Row], room: int = MODULE_ROOM) -> list[Row]:
    """The newest rows that fit one message; the rest is given up, oldest first."""
    items = [{"name": name, "value": f"{value:.2f}", "time": str(epoch)} for name, value, epoch in rows]
    items.reverse()
    fits = next(iter(split_items(items, room, "metrics")), [])
    return rows[len(rows) - len(fits) :]


def _floor(elapsed: float, step: int) -> int:
    return int(elapsed) // step * step


def _uptime(clock: Clock) -> float:
    return clock.now_us() / 1_000_000 - psutil.boot_time()


def _declare_commands(module: Module, *, allow_reboot: bool) -> None:
    @module.command(
        "ping",
        display_category="Network",
        display_name="Ping",
        description="Send echo requests to a host",
        params=[
            Param("host", display_name="Host", description="Name or address", required=True),
            Param(
                "count",
                display_name="Count",
                display_type="list",
                display_values=["1", "3", "5", "10"],
                default_value="3",
            ),
        ],
        refuse=commands.refuse_host,
    )
    async def ping(host: str, count: str = "3") -> dict[str, Any]:
        return await commands.ping(host, count)

    @module.command(
        "top",
        display_category="System",
        display_name="Top processes",
        description="The processes that use most, as a table",
        params=[
            Param(
                "sort",
                display_name="Sort by",
                display_type="list",
                display_values=["cpu", "memory"],
                default_value="cpu",
            ),
            Param(
                "count",
                display_name="Rows",
                display_type="list",
                display_values=["5", "10", "20", "40"],
                default_value="10",
            ),
        ],
    )
    async def top(sort: str = "cpu", count: str = "10") -> dict[str, Any]:
        return await commands.top(sort, count)

    running: set[asyncio.Task[None]] = set()

    @module.command(
        "reboot",
        display_category="System",
        display_name="Reboot",
        description="Restart the machine",
        display_on_property={"reboot_allowed": ["yes"]},
        refuse=lambda: commands.refuse_reboot(allow_reboot),
    )
    async def reboot() -> dict[str, Any]:
        task = asyncio.create_task(commands.reboot())
        running.add(task)
        task.add_done_callback(running.discard)
        return {"response": f"rebooting in {commands.REBOOT_IN_S:.0f} s"}


def default_url(port: int | None) -> str | None:
    """The agent's address for ``--port``; None leaves it to the SDK's default."""
    return None if port is None else f"wss://localhost:{port}"


def credential_path(given: str | None) -> str | None:
    """``--credential``, else ``TOWLINE_PLUGIN_CREDENTIAL``."""
    return given or os.environ.get("TOWLINE_PLUGIN_CREDENTIAL")
