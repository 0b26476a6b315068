# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import msgspec

from towline.app.settings import Settings
from towline.config.changes import merge_live
from towline.config.schema import settings
from towline.gateway.queuesettings import QueueSettings
from towline.gateway.settings import GatewaySettings, ListenerSettings, UserSettings

USER = UserSettings(username="u", password="p")


def with_gateway(**values: object) -> Settings:
    return Settings(gateway=GatewaySettings(**values))  # type: ignore[arg-type]


def test_only_what_may_change_is_taken() -> None:
    old = with_gateway(path="/a")
    new = with_gateway(path="/b", users=(USER,), read_timeout_s=5, queue=QueueSettings(topic_size=1))
    merged = merge_live(old, new)
    assert merged.applied == ("gateway.users", "gateway.read_timeout_s")
    assert merged.waiting == ("gateway.path", "gateway.queue.topic_size")
    assert merged.settings == with_gateway(path="/a", users=(USER,), read_timeout_s=5)


def test_nothing_changed() -> None:
    assert merge_live(Settings(), Settings()) == (Settings(), (), ())


def test_a_listener_takes_its_own_when_it_is_otherwise_the_same() -> None:
    old = with_gateway(listeners=(ListenerSettings(listen="h:1"), ListenerSettings(listen="h:2")))
    new = with_gateway(
        listeners=(ListenerSettings(listen="h:1", read_timeout_s=3), ListenerSettings(listen="h:3", read_timeout_s=4))
    )
    merged = merge_live(old, new)
    assert merged.applied == ("gateway.listeners[0].read_timeout_s",)
    assert merged.waiting == ("gateway.listeners[1].listen", "gateway.listeners[1].read_timeout_s")
    assert merged.settings.gateway.listeners == (new.gateway.listeners[0], old.gateway.listeners[1])


def test_one_listener_more_waits() -> None:
    merged = merge_live(with_gateway(), with_gateway(listeners=(ListenerSettings(listen="h:1"),)))
    assert (merged.applied, merged.waiting) == ((), ("gateway.listeners",))


def test_a_subclass_keeps_what_is_its_own() -> None:
    class Given(Settings, frozen=True, kw_only=True):
        origin: str = ""

    merged = merge_live(Given(origin="here"), with_gateway(users=(USER,)))
    assert merged.settings == Given(origin="here", gateway=GatewaySettings(users=(USER,)))


def test_what_lies_in_a_list_that_may_change_may_change() -> None:
    live = {setting.key: setting.live for setting in settings(Settings)}
    assert live["gateway.users[].password"] is True
    assert live["gateway.read_timeout_s"] == live["gateway.listeners[].read_timeout_s"] == "new"
    assert live["gateway.listeners[].path"] is False
    assert msgspec.json.encode(live["log.level"]) == b"true"
