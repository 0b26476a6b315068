# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from towline.app.build import hub_settings
from towline.app.settings import Flags, Settings, load_settings
from towline.errors import InvalidInput, StartError


def loaded(file: Path | None = None, **flags: object) -> Settings:
    return load_settings(file, flags=Flags(**flags).given(), environ={}).settings  # type: ignore[arg-type]


def test_flags_stand_over_the_file_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text("portal: {port: 1}\ngateway: {api_listen: '127.0.0.1:2'}\n")
    environ = {"TOWLINE_PORTAL__PORT": "3", "TOWLINE_HUB__LOGIN_ATTEMPTS": "9"}
    result = load_settings(file, flags=Flags(portal_port=4, api_port=5).given(), environ=environ)
    assert result.settings.portal.port == 4
    assert result.settings.gateway.api_listen == "127.0.0.1:5"
    assert result.settings.hub.login_attempts == 9
    assert result.sources["portal.port"] == "--portal-port"


def test_listen_changes_hosts_and_keeps_ports() -> None:
    settings = loaded(listen="::1", clients_port=7000)
    assert settings.portal.listen == "::1"
    assert settings.gateway.clients_listen == "[::1]:7000"
    assert settings.gateway.api_listen == "[::1]:6789"


def test_behind_proxy_is_said_to_both_doors() -> None:
    settings = loaded(behind_proxy=True)
    assert (settings.portal.behind_proxy, settings.gateway.behind_proxy) == (True, True)


@pytest.mark.parametrize(
    ("flags", "words"), [({"api_port": 70000}, "--api-port"), ({"portal_port": -1}, "--portal-port")]
)
def test_a_port_out_of_range_names_the_flag(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        loaded(**flags)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"absent\.yaml: cannot read the settings file: No such file"):
        loaded(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"data: x\n\xc3\xa4\xff\xfe")
    with pytest.raises(InvalidInput, match=r"binary\.yaml:2:2: .*not UTF-8"):
        loaded(tmp_path / "binary.yaml")


def test_agents_are_told_the_clients_port_unless_an_address_was_set(tmp_path: Path) -> None:
    assert hub_settings(loaded(clients_port=7001)).link_url == "ws://127.0.0.1:7001/link/v1"
    file = tmp_path / "t.yaml"
    file.write_text("hub: {link_url: 'wss://t.example/link/v1'}\n")
    assert hub_settings(loaded(file, clients_port=7001)).link_url == "wss://t.example/link/v1"


def test_agents_need_a_port_that_stays() -> None:
    with pytest.raises(StartError) as caught:
        hub_settings(loaded(clients_port=0))
    assert caught.value.code == "hub.link_port"
    assert caught.value.where == "gateway.clients_listen"
