# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import stat
from pathlib import Path

import pytest

from towline.app.plan import SECRET_BYTES, prepare_data, secret_key, up_plan, write_private
from towline.app.settings import Settings
from towline.app.supervisor import STOP_SECONDS
from towline.errors import StartError
from towline.gateway.settings import GatewaySettings


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_data_directory_is_its_owners_only_however_it_was_made(tmp_path: Path) -> None:
    assert mode(prepare_data(tmp_path / "new" / "data")) == 0o700
    (tmp_path / "old").mkdir(mode=0o755)
    assert mode(prepare_data(tmp_path / "old")) == 0o700


def test_a_path_through_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StartError, match=str(path)) as caught:
            prepare_data(path)
        assert caught.value.code == "data.not_directory"


def test_the_secret_key_is_made_once_and_private(tmp_path: Path) -> None:
    key = secret_key(tmp_path)
    assert len(key) == SECRET_BYTES
    assert secret_key(tmp_path) == key
    assert mode(tmp_path / "secret.key") == 0o600
    (tmp_path / "secret.key").write_bytes(b"short")
    with pytest.raises(StartError, match="must be 32 bytes, it has 5"):
        secret_key(tmp_path)


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "below" / "file"
    for content in (b"one", b"two"):
        write_private(path, content)
        assert path.read_bytes() == content
    assert mode(path) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_the_plan_runs_server_and_agent_of_one_directory(tmp_path: Path) -> None:
    plan = up_plan(Settings(data=str(tmp_path / "d")), agent=True)
    assert [child["name"] for child in plan["children"]] == ["server", "agent"]
    settings = plan["children"][1]["settings"]
    assert settings["agent"]["data"] == str(tmp_path / "d" / "agent")
    assert settings["agent"]["enrol_file"] == str(tmp_path / "d" / "agent-enrolment")
    assert [child["name"] for child in up_plan(Settings(data=str(tmp_path / "d")), agent=False)["children"]] == [
        "server"
    ]


def test_the_supervisor_waits_for_a_server_that_drains(tmp_path: Path) -> None:
    settings = Settings(data=str(tmp_path), gateway=GatewaySettings(drain_s=30))
    assert up_plan(settings, agent=False)["stop_seconds"] == STOP_SECONDS + 30
