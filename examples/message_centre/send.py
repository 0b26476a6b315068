# SPDX-License-Identifier: Apache-2.0
"""Send a message to a user: ``python examples/message_centre/send.py USER TEXT [http://127.0.0.1:6789]``.

Any program of yours does it like this: keep the message, then publish it to the user's channel. A user with three
devices gets it on all three; one who is away gets it from the back end when signing in.
"""

from __future__ import annotations

import asyncio
import json
import sys

from centre import Inbox, channel_of

from towline.client import PushClient


async def main(user: str, text: str, url: str = "http://127.0.0.1:6789") -> None:
    message = Inbox().add(user, "send.py", text)
    async with PushClient(url) as push:
        counts = await push.publish(channel_of(user), json.dumps(message.to_client()))
    print(f"message {message.id}: " + (f"sent to {counts.sent} connections" if counts.sent else "kept for later"))


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4:
        raise SystemExit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
