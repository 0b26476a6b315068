# SPDX-License-Identifier: Apache-2.0
"""A thousand wrong requests: every route answers as documented, in our shape, and serves on."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any
from urllib.parse import quote

import httpx

from tests.unit.api.fakehub import DEVICE
from towline.api.app import BASE, describe
from towline.api.reference import Operation, operations

REQUESTS = 1000
GENERAL = {400, 401, 403, 404, 405, 408, 413}
VALUES: list[Any] = [
    None, True, False, 0, -1, 2**63, 2**200, 1.5, float("nan"), float("inf"), "", "x", "x" * 300, "\0", "\ud800",
    "é", "null", "-1", "1e9", [], {}, [[[]]], {"a": {"b": None}}, ["x"] * 100, "../..", "%00", "' OR 1=1 --",
]  # fmt: skip
BODIES = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"x"', b"5", b"{" * 3000, b'{"a":1}' * 2, b'{"name":"x","name":5}']


def wrong(operation: Operation, described: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """One request for ``operation`` with something wrong, as arguments of httpx."""
    path = operation.path.removeprefix(BASE)
    for name in ("device_id", "command_id", "enrolment_id", "app_guid", "user_id", "jti"):
        value = DEVICE if dice.random() < 0.5 else text(dice.choice(VALUES))[:200]
        path = path.replace(f"{{{name}}}", quote(value, safe="") or "-")
    request: dict[str, Any] = {"url": path, "params": {}, "headers": {}}
    for parameter in operation.spec.get("parameters", ()):
        if parameter["in"] == "query" and dice.random() < 0.5:
            request["params"][parameter["name"]] = text(dice.choice(VALUES))[:80]
    if "requestBody" in operation.spec:
        request["headers"]["content-type"] = dice.choice(["application/json", "text/plain", "application/json"])
        if dice.random() < 0.3:
            request["content"] = dice.choice(BODIES)
        else:
            reference = operation.spec["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            names = list(described["components"]["schemas"][reference.rpartition("/")[2]]["properties"])
            names = [*names, "extra"] if dice.random() < 0.2 else names
            body = {name: dice.choice(VALUES) for name in names if dice.random() < 0.8}
            request["content"] = json.dumps(body).encode()
    return request


def text(value: object) -> str:
    return str(value).encode("utf-8", "replace").decode()


async def test_a_thousand_wrong_requests(client: httpx.AsyncClient) -> None:
    dice = random.Random(6)
    described = describe()
    signs_out = ("DELETE", f"{BASE}/session")
    routes = [each for each in operations(described) if (each.method, each.path) != signs_out]
    seen: Counter[int] = Counter()
    for number in range(REQUESTS):
        operation = routes[number % len(routes)]
        request = wrong(operation, described, dice)
        answer = await client.request(operation.method, **request)
        seen[answer.status_code] += 1
        documented = {int(status) for status in operation.spec["responses"]}
        assert answer.status_code in documented | GENERAL, (operation.method, request, answer.text)
        if answer.status_code >= 400:
            assert {"code", "message"} <= set(answer.json()["error"]), (operation.method, request, answer.text)
    assert seen[400] > REQUESTS // 5, seen
    assert (await client.get("/health")).status_code == 200
