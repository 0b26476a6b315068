# SPDX-License-Identifier: Apache-2.0
"""Outbox, settings, credential and declarations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.protocols.octo.samples import GUID, KEY, update
from towline.errors import InvalidInput, StartError
from towline.protocols.octo import Declaration, Limits, Name, OctoError
from towline.protocols.octo import messages as m
from towline.sdk import Alarm, Command, Config, Credential, Event, Metric, Module, Param, Property, State
from towline.sdk.outbox import Outbox, Outgoing, split_items
from towline.sdk.registration import Registration, read_template
from towline.sdk.settings import AlarmSetting, Settings

HOUR = 3600 * 1_000_000


def item(name: Name, number: int = 0) -> Outgoing:
    return Outgoing(name, {"n": number})


def test_acks_go_first() -> None:
    outbox = Outbox(500)
    metric, ack = item(Name.METRIC), item(Name.COMMAND_ACK)
    outbox.put(metric)
    outbox.put(ack)
    assert outbox.take(0) is ack
    outbox.put_back(ack)
    assert [outbox.take(0), outbox.take(0), outbox.take(0)] == [ack, metric, None]


def test_telemetry_leaves_a_reserve_for_acks() -> None:
    outbox = Outbox(10, reserve=3)
    for number in range(9):
        outbox.put(item(Name.METRIC, number))
    assert [outbox.take(0) is not None for _ in range(8)] == [True] * 7 + [False]
    for number in range(4):
        outbox.put(item(Name.COMMAND_ACK, number))
    assert [outbox.take(0) is not None for _ in range(4)] == [True] * 3 + [False]
    assert outbox.left(0) == 0
    assert not outbox.spend(0)
    assert outbox.take(HOUR) is not None


def test_the_oldest_goes_when_full_and_is_counted() -> None:
    outbox = Outbox(0, telemetry=2)
    for number in range(5):
        outbox.put(item(Name.STATE, number))
    assert outbox.dropped == 3
    assert len(outbox) == 2
    first = outbox.take(0)
    assert first is not None
    assert first.params == {"n": 3}


def test_splitting() -> None:
    items = [{"n": "x" * 10}] * 5  # 18 bytes each with the comma
    assert [len(part) for part in split_items(items, 40, "metrics")] == [2, 2, 1]
    assert list(split_items([], 40, "metrics")) == []
    with pytest.raises(OctoError, match=r"metrics\[1\]: has 109 bytes"):
        list(split_items([{"n": "x"}, {"n": "x" * 100}], 40, "metrics"))


DECLARATION = Declaration.parse(update())


def alarms(epoch: str, *names: str, module: str = "main") -> m.AlarmUpdate:
    items = [m.AlarmItem(name=name, enabled=True, params=[m.ParamValue(name="limit", value="1")]) for name in names]
    modules = [m.AlarmModule(module_name=module, epoch=epoch, alarms=items)]
    return m.AlarmUpdate(app_guid=GUID, epoch="1", version="1.2.3", modules=modules)


def test_the_newest_alarm_settings_count() -> None:
    settings = Settings()
    assert settings.apply_alarms(alarms("5", "hot", "undeclared"), DECLARATION) == ["main"]
    assert settings.alarms == {("main", "hot"): AlarmSetting(True, {"limit": "1"})}
    assert settings.apply_alarms(alarms("4"), DECLARATION) == []
    assert settings.apply_alarms(alarms("9", "hot", module="other"), DECLARATION) == []
    assert settings.apply_alarms(alarms("6"), DECLARATION) == ["main"]
    assert settings.alarms == {}


def test_the_older_form_switches_everything_off() -> None:
    settings = Settings()
    settings.apply_alarms(alarms("5", "hot"), DECLARATION)
    settings.apply_alarms(m.AlarmUpdate(app_guid=GUID, epoch="9"), DECLARATION)
    assert settings.alarms == {}
    configs = [m.ConfigItem(name="report", params=[m.ParamValue(name="every", value="5")]), m.ConfigItem(name="x")]
    modules = [m.ConfigModule(module_name="main", epoch="5", configs=configs)]
    update_configs = m.ConfigUpdate(app_guid=GUID, epoch="1", version="1.2.3", modules=modules)
    assert settings.apply_configs(update_configs, DECLARATION) == ["main"]
    assert settings.configs["main", "report"].params == {"every": "5"}
    assert list(settings.configs) == [("main", "report")]
    settings.apply_configs(m.ConfigUpdate(app_guid=GUID, epoch="9"), DECLARATION)
    assert settings.configs == {}


def test_a_credential(tmp_path: Path) -> None:
    content = {"app_guid": GUID.upper(), "access_key": KEY, "platform": "linux", "architecture": "x86_64"}
    file = tmp_path / "plugin_credential.json"
    file.write_text(json.dumps(content))
    credential = Credential.load(file)
    assert credential == Credential.load(tmp_path) == Credential(GUID, KEY, "linux", "x86_64")
    assert KEY not in repr(credential)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot read the credential"),
        ("{", "not JSON"),
        ("[]", "app_guid must be a UUID"),
        ('{"app_guid":"x"}', "app_guid must be a UUID"),
        (json.dumps({"app_guid": GUID}), "access_key"),
        (json.dumps({"app_guid": GUID, "access_key": 5}), "access_key"),
    ],
)
def test_wrong_credentials(tmp_path: Path, text: str | None, says: str) -> None:
    file = tmp_path / "c.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(StartError, match=says) as caught:
        Credential.load(file)
    assert caught.value.where == str(file)


def registration(**options: Any) -> Registration:
    return Registration(
        GUID, "my-plugin", "1.0.0", head={"type": "ib", "displayName": None}, limits=Limits(), **options
    )


def test_a_declaration_in_python() -> None:
    it = registration()
    module = it.module(
        description="All of it",
        properties=[Property("model", "X1"), Property("page", {"url": "x"}, "link")],
        states=[State("status"), State("disks", "table")],
        metrics=[Metric("load", "%"), Metric("temp", display_type="temperature")],
        events=[Event("login", display_name="Log-in")],
        alarms=[Alarm("hot", params=[Param("limit", display_type="temperature", required=True)])],
        configs=[Config("report")],
    )

    @module.command("go", display_category="Do", params=[[Param("a-b")], [Param("c", display_mask=True)]])
    async def go(a_b: str | None, c: str | None) -> None: ...

    index = it.declaration.modules["my-plugin"]
    assert list(index.metrics) == ["load", "temp"]
    assert it.render()["modules"][0]["commands"] == [
        {
            "name": "go",
            "type": "asynchronous",
            "displayCategory": "Do",
            "params": [
                [{"name": "a-b", "displayType": "string", "required": False}],
                [{"name": "c", "displayType": "string", "required": False, "displayMask": True}],
            ],
        }
    ]
    assert it.handlers["my-plugin", "go"].handler is go
    assert "displayName" not in it.render()


def test_declarations_are_checked() -> None:
    it = registration()
    it.module(metrics=[Metric("load")])
    with pytest.raises(OctoError, match="displayUnit"):
        _ = it.declaration
    with pytest.raises(InvalidInput, match="async function"):
        Module("m").command("go")(lambda: None)  # type: ignore[type-var]

    async def check() -> str | None: ...

    for declare in (lambda: Module("m").command("go", refuse=check)(check), lambda: Command("go", refuse=check)):  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match=r"refuse= of command 'go' .* cannot be async"):
            declare()
    assert Command("go").render() == {"name": "go", "type": "asynchronous", "params": []}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("a\0b", r"properties\[0\].value: text must not contain U\+0000"),
        ("a\ud800b", "half a character"),
        (object(), "cannot be written as JSON"),
        (5, r"properties\[0\].value: a string value is a string"),
    ],
    ids=["nul", "surrogate", "object", "number"],
)
def test_wrong_properties(value: Any, says: str) -> None:
    it = registration()
    it.module(properties=[Property("model", value)])
    with pytest.raises(OctoError, match=says):
        _ = it.declaration
    it.modules[0].properties = [Property("model", "X1")]
    before = it.declaration
    it.modules[0].properties = [Property("model", value)]
    with pytest.raises(OctoError, match=says):
        it.refresh()
    assert it.declaration is before
    it.modules[0].properties = [Property("model", "X2")]
    it.refresh()
    assert it.declaration.modules["my-plugin"].properties["model"].value == "X2"


def template(**changes: Any) -> str:
    params = update(appGUID="${PLUGIN_APP_GUID}", appName="${PLUGIN_NAME}", epoch="", **changes)
    return json.dumps({"jsonrpc": "2.0", "method": "v2/notifyPluginUpdate", "params": params})


def test_a_template_file_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "plugin_update_template.json"
    file.write_text(template(version="${PLUGIN_VERSION}"))
    for source in (file, str(file), file.read_text(), json.loads(file.read_text())):
        params = read_template(source, app_guid=GUID, name="plugin-hello", version="1.2.3")
        assert params == update(epoch="")
    it = registration(template=params)
    assert it.render() == update(epoch="")

    @it.command("say_hello")
    async def say_hello(person: str) -> None: ...

    assert it.handlers["main", "say_hello"].handler is say_hello
    with pytest.raises(OctoError, match="no module"):
        it.command("nope")(say_hello)
    with pytest.raises(InvalidInput, match="no command"):
        it.command("nope", module="main")(say_hello)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{}", "appName"),
        ("{ nonsense", "not JSON"),
        ('{"params": 5}', "a template is a notifyPluginUpdate"),
        (json.dumps(update(appGUID="b8e873a1-e5df-43a2-928a-745ff9c94dfb")), "the credential is for"),
    ],
)
def test_wrong_templates(source: str, says: str) -> None:
    with pytest.raises(OctoError, match=says):
        read_template(source, app_guid=GUID, name="n", version="1.0.0")


def test_a_missing_template(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot read the template"):
        read_template(tmp_path / "none.json", app_guid=GUID, name="n", version="1.0.0")
