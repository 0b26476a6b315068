# SPDX-License-Identifier: Apache-2.0
"""Libraries for others. For back ends: :class:`PushClient`, messages to the gateway's clients, and :class:`Consumer`, messages
from them.

::

    from towline.client import PushClient

    async with PushClient("http://127.0.0.1:6789") as push:
        counts = await push.publish("news", "hello")
        print(counts.sent, counts.failed)
"""

from __future__ import annotations

from towline.client.consumer import Consumer
from towline.client.event import Event
from towline.client.push import Counts, PushClient, PushError

__all__ = ["Consumer", "Counts", "Event", "PushClient", "PushError"]
