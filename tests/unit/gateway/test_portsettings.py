# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from towline.errors import StartError
from towline.gateway.portsettings import INHERITED, first_port, further_ports, link_port
from towline.gateway.settings import GatewaySettings, ListenerSettings


def test_a_listener_has_the_first_ports_limits_unless_it_says_its_own() -> None:
    settings = GatewaySettings(
        max_message_bytes=1000,
        read_timeout_s=7,
        entry="a.py",
        listeners=(
            ListenerSettings(listen="127.0.0.1:1"),
            ListenerSettings(listen="127.0.0.1:2", max_message_bytes=200, entry="b.py"),
        ),
    )
    one, two = further_ports(settings)
    first = first_port(settings)
    assert all(getattr(one, name) == getattr(first, name) for name in INHERITED)
    assert (two.max_message_bytes, two.read_timeout_s, two.entry) == (200, 7, "b.py")
    assert one.entry == ""
    assert one.address_key == "gateway.listeners[0].listen"


def test_certificates_of_listeners() -> None:
    settings = GatewaySettings(
        certificate="c.pem",
        key="k.pem",
        link_listen="127.0.0.1:9",
        listeners=(
            ListenerSettings(listen="127.0.0.1:1"),
            ListenerSettings(listen="127.0.0.1:2", tls=False),
            ListenerSettings(listen="127.0.0.1:3", certificate="own.pem", key="ownkey.pem"),
        ),
    )
    assert [port.certificate for port in further_ports(settings)] == ["c.pem", None, "own.pem"]
    assert (link_port(settings).listen, link_port(settings).certificate) == ("127.0.0.1:9", "c.pem")
    assert link_port(settings).entry == ""


def test_tls_needs_a_certificate() -> None:
    settings = GatewaySettings(listeners=(ListenerSettings(listen="127.0.0.1:1", tls=True),))
    with pytest.raises(StartError) as caught:
        list(further_ports(settings))
    assert caught.value.code == "gateway.tls_incomplete"
    assert "gateway.listeners[0].tls" in str(caught.value)
