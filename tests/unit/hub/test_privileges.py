# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from towline.errors import InvalidInput, Refused
from towline.hub import causes
from towline.hub.actor import Actor
from towline.hub.privileges import PRIVILEGES, TABLE, check, grantable, known, permitted


def actor(*privileges: str) -> Actor:
    return Actor(user_id="u", name="ada", kind="user", workgroup="main", privileges=frozenset(privileges))


def test_the_table_names_only_known_privileges() -> None:
    assert {needed for needed in TABLE.values() if needed} <= set(PRIVILEGES)


@pytest.mark.parametrize("use_case", TABLE)
def test_each_use_case_needs_its_privilege(use_case: str) -> None:
    needed = TABLE[use_case]
    if needed is None:
        check(actor(), use_case)
        return
    check(actor(needed), use_case)
    check(actor("owner"), use_case)
    others = [name for name in PRIVILEGES if name not in (needed, "owner")]
    assert not permitted(actor(*others), use_case)
    with pytest.raises(Refused, match=needed) as caught:
        check(actor(*others), use_case)
    assert caught.value.code == "privilege.missing"


def test_nobody_grants_what_they_lack() -> None:
    grantable(actor("read", "manage_access"), frozenset({"read"}))
    grantable(actor("owner"), frozenset({"owner", "control_devices"}))
    with pytest.raises(Refused, match="cannot grant owner"):
        grantable(actor("manage_access"), frozenset({"owner"}))


def test_unknown_names() -> None:
    with pytest.raises(InvalidInput, match="'fly'"):
        known(["read", "fly"])


def test_the_table_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "concepts" / "privileges.md").read_text("utf-8")
    for name, text in PRIVILEGES.items():
        assert f"| `{name}` | {text} |" in page
    for use_case, needed in TABLE.items():
        assert f"| `{use_case}` | {f'`{needed}`' if needed else 'being signed in'} |" in page


def test_causes_are_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "concepts" / "presence.md").read_text("utf-8")
    internal = {"", "handshake_timeout", "hub_unavailable"}  # before there is a presence to change
    assert [cause for cause in causes.TEXT if cause not in internal and f"`{cause}`" not in page] == []
