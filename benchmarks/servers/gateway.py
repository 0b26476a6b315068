# SPDX-License-Identifier: Apache-2.0
"""A gateway node by itself, as ``towline gateway`` runs it: ``python -m benchmarks.servers.gateway API PORT ENTRY``."""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import sys

import uvloop

from towline.bus.memory import MemoryBus
from towline.clock import SystemClock
from towline.gateway.node import Node
from towline.gateway.settings import GatewaySettings


async def main(api: str, clients: str, entry: str) -> None:
    clock = SystemClock()
    bus = MemoryBus(clock)
    await bus.start()
    settings = GatewaySettings(
        api_listen=f"127.0.0.1:{api}",
        clients_listen=f"127.0.0.1:{clients}",
        path="/sub",
        entry=entry,
        read_timeout_s=600.0,
    )
    node = Node(bus, clock, settings)
    await node.start()
    gc.freeze()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("ready", flush=True)
    await stop.wait()
    await node.close()


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(main(*sys.argv[1:4]))
