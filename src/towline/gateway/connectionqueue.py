# SPDX-License-Identifier: Apache-2.0
"""What entries know as ``conn.queue``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from towline.gateway.queues import Queues


class ConnectionQueue(NamedTuple):
    """``conn.queue``: pushes in the name of one client."""

    queues: Queues
    client_id: str

    def push(self, topic: str, data: object) -> int:
        """Queue a message for the back ends that consume ``topic``: how many wait now. As :meth:`Queues.push`."""
        return self.queues.push(topic, data, self.client_id)

    async def put(self, topic: str, data: object) -> int:
        """The same for any topic; in a durable one the message is safe when this returns. As :meth:`Queues.put`."""
        done = self.queues.put(topic, data, self.client_id)
        return done if isinstance(done, int) else await done
