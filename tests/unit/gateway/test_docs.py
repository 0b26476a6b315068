# SPDX-License-Identifier: Apache-2.0
"""What the gateway can answer stands in its pages."""

from __future__ import annotations

import re
from pathlib import Path

from towline.protocols.connmix.codes import WORDS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "protocols" / "connmix.md").read_text()
SOURCES = "\n".join(path.read_text() for path in (ROOT / "src" / "towline" / "gateway").rglob("*.py"))


def test_every_refusal_of_the_push_api_is_documented() -> None:
    codes = set(re.findall(r'"(http\.[a-z_]+)"', SOURCES))
    assert len(codes) > 10
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()
    assert set(re.findall(r"`(http\.[a-z_]+)`", PAGE)) <= codes


def test_every_code_of_the_api_is_documented() -> None:
    for code, words in WORDS.items():
        assert re.search(rf"\| {int(code)} \| `{words}` \|", PAGE), code


def test_every_route_is_documented() -> None:
    for route in re.findall(r'b"(/[a-z0-9/]+)": \{', SOURCES):
        assert route in PAGE
