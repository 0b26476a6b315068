# SPDX-License-Identifier: Apache-2.0
"""Messages that the octo tests share."""

from __future__ import annotations

import copy
from typing import Any

from towline.protocols.octo import Accepted, ErrorReply, Guard, Limits, Name, Registered, Session, outgoing

KEY = "made-up-key-for-testing-00000000"
GUID = "a8e873a1-e5df-43a2-928a-745ff9c94dfb"
OTHER = "b8e873a1-e5df-43a2-928a-745ff9c94dfb"
EPOCH = 1_664_250_407
NOW = EPOCH * 1_000_000

_UPDATE: dict[str, Any] = {
    "sdk": "1.0.0",
    "appGUID": GUID,
    "appName": "plugin-hello",
    "epoch": str(EPOCH),
    "displayName": "plugIN Hello",
    "type": "ib",
    "version": "1.2.3",
    "modules": [
        {
            "moduleName": "main",
            "displayName": "Main",
            "properties": [
                {"name": "model", "displayType": "string", "value": "X1"},
                {"name": "manual", "displayType": "link", "value": {"url": "https://x.test", "alias": "Manual"}},
                {"name": "ports", "displayType": "table", "value": [{"Port": "1", "Used": "no"}]},
                {"name": "mode", "displayType": "displayOn", "value": "expert"},
                {
                    "name": "outlets",
                    "displayType": "valueFromProperty",
                    "value": {"displayValues": ["A", "B"], "defaultValue": "A"},
                },
            ],
            "states": [
                {"name": "status", "displayType": "string"},
                {"name": "disks", "displayType": "table"},
                {"name": "page", "displayType": "link"},
            ],
            "metrics": [
                {"name": "temp", "displayType": "temperature"},
                {"name": "load", "displayType": "custom", "displayUnit": "%"},
            ],
            "events": [{"name": "login"}],
            "commands": [
                {
                    "name": "say_hello",
                    "type": "asynchronous",
                    "params": [{"name": "person", "displayType": "string", "required": True, "defaultValue": "Buzz"}],
                },
                {
                    "name": "all_kinds",
                    "type": "asynchronous",
                    "displayOnProperty": {"mode": ["expert"]},
                    "params": [
                        [
                            {"name": "note", "displayType": "text", "required": False},
                            {
                                "name": "day",
                                "displayType": "datetime",
                                "displayFormat": "YYYY-MM-DD",
                                "required": False,
                            },
                        ],
                        [
                            {
                                "name": "power",
                                "displayType": "switch",
                                "displayValues": ["off", "on"],
                                "required": False,
                            },
                            {
                                "name": "outlet",
                                "displayType": "list",
                                "valueFromProperty": "outlets",
                                "required": False,
                                "requiredOn": "power",
                            },
                            {
                                "name": "terms",
                                "displayName": "I agree",
                                "description": "https://x.test/terms",
                                "displayType": "tos",
                                "required": False,
                            },
                        ],
                    ],
                },
            ],
            "alarms": [
                {
                    "name": "hot",
                    "params": [{"name": "limit", "displayType": "temperature", "required": True}],
                }
            ],
            "configs": [
                {
                    "name": "report",
                    "params": [
                        {
                            "name": "every",
                            "displayType": "list",
                            "displayValues": ["1", "5"],
                            "defaultValue": "7",
                            "required": True,
                        }
                    ],
                }
            ],
        }
    ],
}


def update(**changes: Any) -> dict[str, Any]:
    """A registration's params with everything in it."""
    return {**copy.deepcopy(_UPDATE), **changes}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The registration with one member set; ``path`` as ``modules.0.states.1.name``; None deletes it."""
    tree = update()
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    node: Any = tree
    for part in parents:
        node = node[part]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return tree


def body(**content: Any) -> dict[str, Any]:
    """Params of a later message to module ``main``."""
    return {"appGUID": GUID, "moduleName": "main", "epoch": str(EPOCH), **content}


class Harness:
    """One session fed with signed messages."""

    def __init__(self, limits: Limits | None = None, *, registered: bool = True, guard: Guard | None = None) -> None:
        self.guard = guard or Guard(limits or Limits())
        self.session = Session(self.guard)
        self.now = NOW
        if registered:
            result = self.send(Name.UPDATE, update())
            assert isinstance(result, Registered), result

    def send(self, name: Name, params: dict[str, Any], key: str | None = KEY) -> Accepted | ErrorReply:
        """Sign and take one message."""
        return self.take(outgoing.signed(name, params, KEY), key)

    def take(self, frame: str | bytes, key: str | None = KEY, *, binary: bool = False) -> Accepted | ErrorReply:
        """Take one frame."""
        seen = self.session.inspect(frame, self.now, binary=binary)
        return seen if isinstance(seen, ErrorReply) else self.session.accept(seen, key, self.now)
