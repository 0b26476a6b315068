# SPDX-License-Identifier: Apache-2.0
"""Octo, the plugin protocol: JSON-RPC 2.0 notifications over ``wss://localhost:55688`` (docs/protocols/octo.md).

Pure: bytes and times in, events and bytes out. For an agent: :class:`Guard`, :class:`Session`, and
:mod:`~towline.protocols.octo.outgoing`. For a hub: :class:`Declaration`, :func:`check_command`,
:func:`check_setting`. For authors of plugins there is :mod:`towline.sdk`.
"""

from towline.protocols.octo.command import CommandBook, CommandState, SentCommand, Step
from towline.protocols.octo.declaration import Declaration, flat_params
from towline.protocols.octo.envelope import Name
from towline.protocols.octo.errors import Code, ErrorReply, OctoError, Reason
from towline.protocols.octo.guard import Guard, PluginMemory
from towline.protocols.octo.limits import DEFAULT_LIMITS, Limits
from towline.protocols.octo.session import (
    Accepted,
    AlertsReported,
    CommandAcked,
    EventsReported,
    Inspected,
    LocalCommandAsked,
    MetricsReported,
    Registered,
    Session,
    StatesReported,
)
from towline.protocols.octo.validate import check_command, check_setting

__all__ = [
    "DEFAULT_LIMITS",
    "Accepted",
    "AlertsReported",
    "Code",
    "CommandAcked",
    "CommandBook",
    "CommandState",
    "Declaration",
    "ErrorReply",
    "EventsReported",
    "Guard",
    "Inspected",
    "Limits",
    "LocalCommandAsked",
    "MetricsReported",
    "Name",
    "OctoError",
    "PluginMemory",
    "Reason",
    "Registered",
    "SentCommand",
    "Session",
    "StatesReported",
    "Step",
    "check_command",
    "check_setting",
    "flat_params",
]
