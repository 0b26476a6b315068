# SPDX-License-Identifier: Apache-2.0
"""From what a person types to what the API wants: devices and plugins by name, by id, or by the start of an id."""

from __future__ import annotations

import re
from typing import Any

from towline.cli.http import Client, segment
from towline.errors import NotFound, Refused

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_MIN_PREFIX = 4


def device_id(client: Client, text: str) -> str:
    """The id of the device that ``text`` names. NotFound, or Refused ``cli.ambiguous`` listing the ids."""
    if _UUID.fullmatch(text):
        return text.lower()
    found = _search(client, text)
    exact = [each for each in found if each["name"] == text] or [
        each for each in found if each["name"].lower() == text.lower()
    ]
    if not exact and len(text) >= _MIN_PREFIX:
        exact = [each for each in found if each["id"].startswith(text.lower())]
    return str(_one(exact, "device", text, lambda each: each["id"])["id"])


def _search(client: Client, text: str) -> list[dict[str, Any]]:
    """All pages: the search also looks at host names and systems, so the device meant may be on any of them."""
    found: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        page = client.get("/devices", search=text, limit=200, after=after)
        found += page["devices"]
        after = page["next"]
        if after is None:
            return found


def plugin(client: Client, device: str, text: str) -> dict[str, Any]:
    """The plugin of a device that ``text`` names: appGUID, application name or display name."""
    found = client.get(f"/devices/{segment(device)}/plugins")["plugins"]
    wanted = text.lower()
    matching = [
        each
        for each in found
        if wanted in (each["app_guid"].lower(), each["app_name"].lower(), each["display_name"].lower())
    ]
    if not matching and found:
        names = ", ".join(each["app_name"] for each in found)
        raise NotFound("plugin.unknown", f"the device has no plugin {text!r}; it has {names}")
    chosen: dict[str, Any] = _one(matching, "plugin", text, lambda each: each["app_guid"])
    return chosen


def _one(found: list[Any], kind: str, text: str, key: Any) -> Any:
    if not found:
        raise NotFound(f"{kind}.unknown", f"there is no {kind} {text!r}")
    if len(found) > 1:
        ids = ", ".join(key(each) for each in found[:5])
        raise Refused("cli.ambiguous", f"{text!r} names {len(found)} {kind}s", hint=f"use one of the ids: {ids}")
    return found[0]
