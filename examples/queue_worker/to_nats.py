# SPDX-License-Identifier: Apache-2.0
"""Carry a topic on to a NATS subject.

    python examples/queue_worker/to_nats.py TOPIC SUBJECT [--server nats://localhost:4222] [--api URL] [--jetstream]

Each item becomes one message whose body is its JSON, with the headers ``Client-Id`` and ``Node``. Plainly published, it
reaches who listens at that moment. With --jetstream, for which a stream must have the subject, NATS has kept it before the
next item is taken.
"""

from __future__ import annotations

import argparse
import asyncio
import json

import nats
from nats.errors import Error as NatsError

from towline.client import Consumer


async def complain(error: Exception) -> None:
    """What happens to the connection; nats-py opens it again by itself."""
    print(f"! {error!r}", flush=True)


async def main(topic: str, subject: str, server: str, api: str, jetstream: bool) -> None:
    connection = await nats.connect(
        server, name=f"{topic} from the gateway", max_reconnect_attempts=-1, reconnect_time_wait=0.5, error_cb=complain
    )
    async with Consumer(topic, url=api) as items:
        async for item in items:
            body, headers = json.dumps(item.data).encode(), {"Client-Id": item.client_id, "Node": str(item.node)}
            while True:
                try:
                    if jetstream:
                        await connection.jetstream().publish(subject, body, timeout=2, headers=headers)
                    else:
                        await connection.publish(subject, body, headers=headers)
                        await connection.flush()
                    break
                except NatsError as error:
                    await complain(error)
                    await asyncio.sleep(0.5)
            print(f"{subject}: {item.client_id}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic")
    parser.add_argument("subject")
    parser.add_argument("--server", default="nats://localhost:4222")
    parser.add_argument("--api", default="http://127.0.0.1:6789", help="of any gateway node")
    parser.add_argument("--jetstream", action="store_true", help="wait until a stream has kept it")
    asyncio.run(main(**vars(parser.parse_args())))
