# SPDX-License-Identifier: Apache-2.0
"""The back end of the message centre: ``python examples/message_centre/backend.py [http://127.0.0.1:6789]``.

It checks tokens, subscribes a client to its user's channel, hands over what came while the user was away, and forgets
what was read. Start several if you like: each question goes to one of them. Any node will do as its address; clients of
all nodes are reached from there.
"""

from __future__ import annotations

import asyncio
import json
import sys

from centre import Inbox, channel_of, user_of

from towline.client import Consumer, Event, PushClient, PushError


async def sign_in(event: Event, push: PushClient, inbox: Inbox) -> None:
    """Answer a token. The client waits in the entry until ``user`` is set."""
    client = event.client_id
    user = user_of(event.data["token"])
    if user is None:
        print(f"refused {client}", flush=True)
        await push.call(client, "set_context_value", "user", False)
        return
    # First subscribe, then look what is unread: a message that comes in between is sent twice, with the same id, and
    # none is lost. The other way round it could fall through.
    await push.call(client, "subscribe", channel_of(user))
    unread = inbox.unread(user)
    await push.send(client, json.dumps({"is": "signed_in", "user": user, "unread": len(unread)}))
    for message in unread:
        await push.send(client, json.dumps(message.to_client()))
    await push.call(client, "set_context_value", "user", user)
    print(f"{user} is {client}, {len(unread)} unread", flush=True)


async def handle(event: Event, push: PushClient, inbox: Inbox) -> None:
    try:
        if event.topic == "centre.auth":
            await sign_in(event, push, inbox)
        else:
            inbox.read(event.data["user"], int(event.data["up_to"]))
    except PushError as error:  # push.301 and push.401: the client has gone meanwhile
        print(f"! {event.client_id}: {error}", flush=True)


async def main(url: str = "http://127.0.0.1:6789") -> None:
    inbox = Inbox()
    async with Consumer("centre.auth", "centre.read", url=url) as events, PushClient(url) as push:
        async for event in events:
            await handle(event, push, inbox)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
