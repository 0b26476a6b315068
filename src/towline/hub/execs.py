# SPDX-License-Identifier: Apache-2.0
"""Remote shell: one command on a device, its output and return code (spec ardexa §1.4)."""

from __future__ import annotations

from towline.hub.actor import Actor
from towline.hub.views import ExecResult


class Execution:
    """A remote shell command under way. ``correlation_id`` is known at once."""

    correlation_id: str

    async def result(self) -> ExecResult:
        """Wait for the end. Does not raise for what happens to the device: ``return_code`` −1 and a ``reason``."""
        raise NotImplementedError


class Execs:
    """Use cases of the remote shell."""

    async def run(self, actor: Actor, device_id: str, cmd: str, timeout_s: float = 60) -> Execution:
        """Start ``cmd`` with the device's shell.

        Refused ``privilege.missing``, NotFound ``device.unknown``, Unavailable ``device.offline``, InvalidInput
        ``exec.*``.
        """
        raise NotImplementedError
