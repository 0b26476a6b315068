# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.protocols.octo.samples import GUID, changed, update
from towline.protocols.octo import Declaration, Limits, OctoError, Reason, flat_params

STRICT = Limits(strict=True)


def refused(tree: dict[str, Any], limits: Limits | None = None) -> str:
    with pytest.raises(OctoError) as caught:
        Declaration.parse(tree, limits or Limits())
    assert caught.value.reason is Reason.SCHEMA
    return str(caught.value)


def test_a_full_registration() -> None:
    declaration = Declaration.parse(update(), STRICT)
    assert (declaration.app_guid, declaration.app_name, declaration.version) == (GUID, "plugin-hello", "1.2.3")
    module = declaration.modules["main"]
    assert list(module.commands) == ["say_hello", "all_kinds"]
    assert [param.name for param in flat_params(module.commands["all_kinds"].params)] == [
        "note",
        "day",
        "power",
        "outlet",
        "terms",
    ]
    assert declaration.warnings == ("$.params.modules[0].configs[0].params[0].defaultValue: is none of displayValues",)


def test_the_normal_form_round_trips() -> None:
    declaration = Declaration.parse(update())
    again = Declaration.parse(declaration.encode())
    assert again == declaration
    assert again.digest() == declaration.digest()
    assert Declaration.parse(declaration.to_builtins()) == declaration


def test_the_digest_leaves_out_what_changes_without_a_new_version() -> None:
    digest = Declaration.parse(update()).digest()
    assert Declaration.parse(changed("modules.0.properties.0.value", "Y2")).digest() == digest
    assert Declaration.parse(update(epoch="1")).digest() == digest
    assert Declaration.parse(changed("modules.0.states.0.displayName", "New")).digest() != digest


M = "$.params.modules[0]"
BAD: list[tuple[str, Any, str]] = [
    ("appGUID", None, "$.params: Object missing required field 'appGUID'"),
    ("appGUID", "YOUR-GUID", "$.params.appGUID: 'YOUR-GUID' is not a UUID"),
    ("appGUID", GUID + "\n", "$.params.appGUID"),
    ("appName", "1st", "$.params.appName: '1st' is no name"),
    ("appName", "${PLUGIN_NAME}", "$.params.appName"),
    ("appName", "hello\n", "$.params.appName"),
    ("epoch", 5, "$.params.epoch: Expected 'str', got 'int'"),
    ("type", "cloud", "$.params.type: 'cloud' is none of ib, oob"),
    ("version", "1.2", "$.params.version: '1.2' is not of the form 1.2.3"),
    ("version", "1.2.3\n", "$.params.version"),
    ("modules", {}, "$.params.modules: Expected 'array', got 'object'"),
    ("modules.0.moduleName", "a" * 65, f"{M}.moduleName: the name has 65 bytes; at most 64"),
    ("modules.0.moduleName", None, f"{M}: Object missing required field 'moduleName'"),
    ("modules.0.properties.0.name", "a" * 33, f"{M}.properties[0].name: the name has 33 bytes; at most 32"),
    ("modules.0.properties.1.name", "model", f"{M}.properties[1].name: 'model' occurs twice"),
    ("modules.0.properties.0.displayType", "html", f"{M}.properties[0].displayType: 'html' is none of"),
    ("modules.0.properties.0.value", 5, f"{M}.properties[0].value: a string value is a string, not a number"),
    ("modules.0.properties.0.value", True, f"{M}.properties[0].value: a string value is a string, not a boolean"),
    ("modules.0.properties.1.value", {"alias": "x"}, f"{M}.properties[1].value: a link value is"),
    ("modules.0.properties.1.value", {"url": "x", "alias": 1}, f"{M}.properties[1].value.alias"),
    ("modules.0.properties.2.value", "x", f"{M}.properties[2].value: a table value is an array of objects"),
    ("modules.0.properties.2.value", ["x"], f"{M}.properties[2].value[0]: a table row is an object"),
    ("modules.0.properties.2.value", [{"a": 1}], f"{M}.properties[2].value[0].a: a cell is a string, not a number"),
    ("modules.0.properties.4.value", [], f"{M}.properties[4].value: a valueFromProperty value is"),
    ("modules.0.properties.4.value", {"displayValues": [1]}, f"{M}.properties[4].value.displayValues"),
    (
        "modules.0.properties.4.value",
        {"displayValues": [], "defaultValue": 1},
        f"{M}.properties[4].value.defaultValue",
    ),
    ("modules.0.states.0.displayType", "displayOn", f"{M}.states[0].displayType: 'displayOn' is none of"),
    ("modules.0.states.0.displayType", None, f"{M}.states[0]: Object missing required field 'displayType'"),
    ("modules.0.metrics.0.displayType", "humidity", f"{M}.metrics[0].displayType"),
    ("modules.0.metrics.1.displayUnit", "", f"{M}.metrics[1].displayUnit: a custom metric needs a displayUnit"),
    ("modules.0.events.0.name", "", f"{M}.events[0].name"),
    ("modules.0.commands.0.type", "synchronous", f"{M}.commands[0].type: 'synchronous' is none of asynchronous"),
    ("modules.0.commands.1.displayOnProperty", {"nope": ["x"]}, f"{M}.commands[1].displayOnProperty: 'nope'"),
    ("modules.0.commands.0.params.0.required", "true", f"{M}.commands[0].params[0].required: Expected 'bool'"),
    ("modules.0.commands.0.params.0.displayType", "temperature", f"{M}.commands[0].params[0].displayType"),
    ("modules.0.commands.0.params.0.name", "Insert a Watermark", f"{M}.commands[0].params[0].name"),
    ("modules.0.commands.0.params.0.requiredOn", "nope", f"{M}.commands[0].params[0].requiredOn"),
    ("modules.0.commands.0.params.0.requiredOn", "person", f"{M}.commands[0].params[0].requiredOn"),
    ("modules.0.commands.0.params.0.valueEncoding", "hex", f"{M}.commands[0].params[0].valueEncoding"),
    ("modules.0.commands.1.params.0", {"name": "x", "displayType": "string", "required": True}, "not mixed"),
    ("modules.0.commands.1.params.1.0.displayValues", ["on"], f"{M}.commands[1].params[1][0].displayValues: a switch"),
    ("modules.0.commands.1.params.1.0.displayValues", "on,off", f"{M}.commands[1].params[1][0].displayValues"),
    ("modules.0.commands.1.params.1.0.name", "note", f"{M}.commands[1].params[1][0].name: 'note' occurs twice"),
    ("modules.0.commands.1.params.0.1.displayFormat", "DD.MM.YYYY", f"{M}.commands[1].params[0][1].displayFormat"),
    ("modules.0.commands.1.params.1.1.valueFromProperty", "model", "displayType 'valueFromProperty'"),
    ("modules.0.commands.1.params.1.2.description", None, f"{M}.commands[1].params[1][2]: tos needs"),
    ("modules.0.alarms.0.params.0.displayType", "text", f"{M}.alarms[0].params[0].displayType"),
    ("modules.0.configs.0.params.0.displayValues", [], f"{M}.configs[0].params[0].displayValues: a list needs"),
    ("modules.0.alarms.0.params.0.displayType", "blobstore", f"{M}.alarms[0].params[0].displayType"),
]


@pytest.mark.parametrize(("path", "value", "says"), BAD, ids=[f"{path}={value!r}"[:60] for path, value, _ in BAD])
def test_rules_name_the_path(path: str, value: Any, says: str) -> None:
    assert says in refused(changed(path, value))


def test_two_modules_of_one_name() -> None:
    tree = update()
    tree["modules"] *= 2
    assert "$.params.modules[1].moduleName: 'main' occurs twice" in refused(tree)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("sdk", "$.params.sdk"),
        ("modules", "'modules'"),
        ("modules.0.properties.0.value", "'value'"),
    ],
)
def test_what_older_sdks_leave_out(path: str, says: str) -> None:
    tree = changed(path, None)
    Declaration.parse(tree)
    assert says in refused(tree, STRICT)


def test_empty_values_take_the_shape_of_their_type() -> None:
    tree = update()
    for item in tree["modules"][0]["properties"]:
        del item["value"]
    values = [item.value for item in Declaration.parse(tree).modules["main"].spec.properties]
    assert values == ["", {"url": ""}, [], "", {"displayValues": [], "defaultValue": ""}]


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("modules.0.properties.0.value", "é" * 257, "has 514 bytes; at most 512"),
        ("modules.0.properties.2.value", [{"a": "x" * 129}], "the cell has 129 bytes"),
        ("modules.0.properties.2.value", [{"x" * 129: "a"}], "the header has 129 bytes"),
        ("modules.0.properties.2.value", [{"a": "x" * 100}] * 10, "the table has"),
        ("modules.0.commands.0.params.0.displayType", "file", "'file' is not supported"),
    ],
)
def test_sizes_count_only_when_strict(path: str, value: Any, says: str) -> None:
    tree = changed(path, value)
    Declaration.parse(tree)
    assert says in refused(tree, STRICT)


def test_undocumented_kinds_are_accepted_with_a_warning() -> None:
    declaration = Declaration.parse(changed("modules.0.commands.0.params.0.displayType", "blobstore"))
    assert any("blobstore" in warning for warning in declaration.warnings)


def test_unknown_members_are_ignored() -> None:
    assert Declaration.parse(update(colour="red")) == Declaration.parse(update())


def test_no_object() -> None:
    assert "expected an object" in refused([])  # type: ignore[arg-type]
    with pytest.raises(OctoError):
        Declaration.parse(b"{")


names = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_-]{0,10}", fullmatch=True)
texts = st.text(max_size=20).filter(lambda text: "\0" not in text)
named = {"displayName": texts, "displayCategory": texts, "description": texts}


def listed(item: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(item, max_size=3, unique_by=lambda entry: entry["name"])


def record(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


params = listed(
    record(
        {"name": names, "displayType": st.just("string"), "required": st.booleans()},
        {"displayName": texts, "defaultValue": texts, "displayMask": st.booleans()},
    )
)
modules = record(
    {"moduleName": names},
    {
        "displayName": texts,
        "properties": listed(record({"name": names, "displayType": st.just("string"), "value": texts}, named)),
        "states": listed(record({"name": names, "displayType": st.sampled_from(["string", "table", "link"])}, named)),
        "metrics": listed(record({"name": names, "displayType": st.just("temperature")}, named)),
        "events": listed(record({"name": names}, named)),
        "commands": listed(record({"name": names, "type": st.just("asynchronous")}, {**named, "params": params})),
        "alarms": listed(record({"name": names}, {**named, "params": params})),
        "configs": listed(record({"name": names}, {**named, "params": params})),
    },
)
registrations = record(
    {
        "appGUID": st.uuids(version=4).map(str),
        "appName": names,
        "epoch": st.integers(0, 10**10).map(str),
        "type": st.sampled_from(["ib", "oob"]),
        "version": st.from_regex(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True),
        "modules": st.lists(modules, max_size=2, unique_by=lambda module: module["moduleName"]),
    },
    {"sdk": st.just("1.0.0"), "displayName": texts, "startCommand": texts, "stopCommand": texts},
)


@settings(max_examples=60, deadline=None)
@given(registrations)
def test_any_declaration_round_trips(tree: dict[str, Any]) -> None:
    declaration = Declaration.parse(msgspec.json.encode(tree))
    assert Declaration.parse(declaration.encode()) == declaration
    assert Declaration.parse(declaration.encode()).digest() == declaration.digest()
