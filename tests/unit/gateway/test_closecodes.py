# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from towline.gateway.closecodes import ALL, DRAINING, SLOW, UNKNOWN_LINK, reconnects

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "close-codes.md"


def test_codes_are_unique_and_in_their_ranges() -> None:
    assert len({code.code for code in ALL}) == len({code.cause for code in ALL}) == len(ALL)
    assert all(1000 <= code.code < 1012 or 3000 <= code.code < 4000 for code in ALL)
    assert DRAINING.reconnect
    assert SLOW.reconnect
    assert not UNKNOWN_LINK.reconnect


@pytest.mark.parametrize(("code", "back"), [(3000, True), (3499, True), (3500, False), (1000, False), (1006, True)])
def test_ranges(code: int, back: bool) -> None:
    assert reconnects(code) is back


def test_every_code_is_documented() -> None:
    page = PAGE.read_text()
    for code in ALL:
        assert f"| {code.code} |" in page
        assert f"`{code.cause}`" in page
