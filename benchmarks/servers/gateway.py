# SPDX-License-Identifier: Apache-2.0
"""A gateway node by itself, as ``towline gateway`` runs it: ``python -m benchmarks.servers.gateway --api P --clients P``."""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import signal
import sys

import uvloop

from towline.bus.base import Bus
from towline.bus.memory import MemoryBus
from towline.clock import SystemClock
from towline.gateway.node import Node
from towline.gateway.settings import GatewaySettings


async def main(chosen: argparse.Namespace) -> None:
    clock = SystemClock()
    bus: Bus
    if chosen.nats:
        from towline.bus.nats import NatsBus

        bus = NatsBus(chosen.nats, clock)
    else:
        bus = MemoryBus(clock)
    await bus.start()
    settings = GatewaySettings(
        api_listen=f"127.0.0.1:{chosen.api}",
        clients_listen=f"127.0.0.1:{chosen.clients}",
        path="/sub",
        entry=chosen.entry,
        trusted=chosen.trusted,
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
    await bus.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--api", required=True)
    parser.add_argument("--clients", required=True)
    parser.add_argument("--entry", default="builtin:echo")
    parser.add_argument("--trusted", action="store_true")
    parser.add_argument("--nats", default="")
    arguments = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.exit(uvloop.run(main(arguments)))
