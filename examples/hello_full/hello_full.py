# SPDX-License-Identifier: Apache-2.0
"""The hello plugin with a state, a metric and an event:  python hello_full.py path/to/credential.json

The state holds the last greeting, the metric counts greetings a minute, and each greeting is an event.
"""

import asyncio
import sys
import time

from towline.sdk import Event, Metric, Param, Plugin, State

plugin = Plugin.from_credential(sys.argv[1], name="plugin-hello-full", version="1.0.0", display_name="Hello, with data")
hello = plugin.module(
    display_name="Hello",
    states=[State("last_greeting", display_category="Greetings", display_name="Last greeting")],
    metrics=[Metric("greetings", "a minute", display_category="Greetings", display_name="Greetings")],
    events=[Event("greeted", display_category="Greetings", display_name="Somebody was greeted")],
)
greeted_at: list[float] = []


@hello.command(
    "say_hello",
    display_category="Action",
    display_name="Say Hello",
    description="Say hello to a person",
    params=[Param("person", display_name="Person Name", required=True, default_value="Buzz")],
)
async def say_hello(person: str) -> dict[str, str]:
    greeting = f"Hello {person}"
    greeted_at.append(time.time())
    await plugin.state("last_greeting", greeting)
    await plugin.event("greeted", greeting)
    return {"response": greeting}


@plugin.background
async def count() -> None:
    await plugin.wait_connected()
    await plugin.state("last_greeting", "nobody yet")
    while True:
        greeted_at[:] = [at for at in greeted_at if at > time.time() - 60]
        await plugin.metrics({"greetings": len(greeted_at)})
        await asyncio.sleep(15)


if __name__ == "__main__":
    plugin.run()
