# SPDX-License-Identifier: Apache-2.0
"""A plugin that says hello:  python hello.py path/to/hello.json"""

import sys

from towline.sdk import Param, Plugin

plugin = Plugin.from_credential(sys.argv[1], name="plugin-hello", version="1.0.0", display_name="plugIN Hello")
hello = plugin.module(display_name="plugIN Hello", properties=[])


@hello.command(
    "say_hello",
    display_category="Action",
    display_name="Say Hello",
    description="Say hello to a person",
    params=[
        Param(
            "person",
            display_name="Person Name",
            description="Person who you wanna to say hello",
            required=True,
            default_value="Buzz",
        )
    ],
)
async def say_hello(person: str) -> dict[str, str]:
    return {"response": f"Hello {person}"}


if __name__ == "__main__":
    plugin.run()
