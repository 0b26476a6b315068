# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towline.errors import InvalidInput
from towline.hub.params import check_size, frame_bytes, normalise, validate
from towline.protocols.octo.declaration import Declaration

GUID = "a8e873a1-e5df-43a2-928a-745ff9c94dfb"
COMMAND_ID = "0" * 40


def declared(*params: object, properties: list[dict[str, Any]] | None = None) -> Declaration:
    return Declaration.parse(
        {
            "appGUID": GUID,
            "appName": "plugin-test",
            "epoch": "1664250407",
            "displayName": "Test",
            "type": "ib",
            "sdk": "1.0.0",
            "version": "1.0.0",
            "modules": [
                {
                    "moduleName": "mod",
                    "properties": properties or [],
                    "commands": [{"name": "go", "type": "asynchronous", "params": list(params)}],
                }
            ],
        }
    )


def run(given: Any, *params: object, properties: list[dict[str, Any]] | None = None) -> dict[str, str | bool]:
    module = declared(*params, properties=properties).modules["mod"]
    return validate(module, module.commands["go"], given)


def param(name: str, kind: str = "string", required: bool = False, **more: object) -> dict[str, object]:
    return {"name": name, "displayType": kind, "required": required, **more}


TEXT = param("text")


def test_values_come_in_declaration_order_from_either_form() -> None:
    params = [param("b"), [param("c"), param("a")]]
    flat = [param("b"), param("c"), param("a")]
    assert list(run({"a": "1", "b": "2", "c": "3"}, *flat)) == ["b", "c", "a"]
    assert list(run([{"name": "a", "value": "1"}, {"name": "c", "value": "3"}], [param("b")], params[1])) == ["c", "a"]


@pytest.mark.parametrize(
    ("given", "params", "where", "words"),
    [
        ({"x": "1"}, [TEXT], "$.params.x", "no parameter 'x'; it declares text"),
        ({"x": "1"}, [], "$.params.x", "it has no parameters"),
        ({}, [param("text", required=True)], "$.params.text", "is required"),
        ({"text": ""}, [param("text", required=True)], "$.params.text", "is required"),
        ({"text": 5}, [TEXT], "$.params.text", "is a string"),
        ({"text": "a\0b"}, [TEXT], "$.params.text", "contains U\\+0000"),
        ({"text": True}, [TEXT], "$.params.text", "is a string"),
        ({"a": "1"}, [param("a"), param("b", requiredOn="a")], "$.params.b", "required when a has a value"),
        ({"s": "maybe"}, [param("s", "switch", displayValues=["no", "yes"])], "$.params.s", "none of s's values"),
        ({"t": "yes"}, [param("t", "tos", displayName="x", description="u")], "$.params.t", "true or false"),
        (
            {"t": False},
            [param("t", "tos", True, displayName="x", description="u")],
            "$.params.t",
            "has to be agreed to",
        ),
        ({"b": "###"}, [param("b", valueEncoding="base64")], "$.params.b", "is not base64"),
        ("text", [TEXT], "$.params", "expected an object or an array"),
        ([{"name": "text"}], [TEXT], "$.params[0]", "expected {name, value}"),
        ([{"name": "text", "value": "1"}] * 2, [TEXT], "$.params[1]", "occurs twice"),
    ],
)
def test_errors_name_path_and_rule(given: Any, params: list[object], where: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        run(given, *params)
    assert caught.value.code == "command.params"
    assert caught.value.where == where


def test_required_on_asks_nothing_without_the_other() -> None:
    assert run({}, param("a"), param("b", requiredOn="a")) == {}
    assert run({"a": "1", "b": "2"}, param("a"), param("b", requiredOn="a")) == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        (
            "YYYY-MM-DD",
            ["2026-02-28", "2024-02-29"],
            ["2026-02-29", "2026-2-28", "٢٠٢٦-٠١-٠١", "2026-02-28 ", "2026-02-28 10:00", "x"],
        ),
        ("HH:MM", ["00:00", "23:59"], ["24:00", "7:30", "0٧:30", "12:60", "2026-01-01 10:00"]),
        ("YYYY-MM-DD HH:MM", ["2026-02-28 10:00"], ["2026-02-28", "10:00", "2026-02-28T10:00", "2026-02-28  10:00"]),
    ],
)
def test_datetime_formats(form: str, good: list[str], bad: list[str]) -> None:
    when = param("when", "datetime", displayFormat=form)
    for text in good:
        assert run({"when": text}, when) == {"when": text}
    for text in bad:
        with pytest.raises(InvalidInput, match=r"is not of the form"):
            run({"when": text}, when)


def test_choices_may_come_from_a_property() -> None:
    ports = {
        "name": "ports",
        "displayType": "valueFromProperty",
        "value": {"displayValues": ["a", "b"], "defaultValue": "a"},
    }
    which = param("which", "list", valueFromProperty="ports")
    assert run({"which": "b"}, which, properties=[ports]) == {"which": "b"}
    with pytest.raises(InvalidInput, match="none of which's values: a, b"):
        run({"which": "c"}, which, properties=[ports])


def test_an_empty_choice_is_no_choice_but_an_empty_string_is_a_string() -> None:
    assert run({"l": "", "t": ""}, param("l", "list", displayValues=["x"]), param("t")) == {"t": ""}


def test_tos_travels_as_a_boolean() -> None:
    tos = param("agree", "tos", displayName="I agree", description="https://example.org")
    assert run({"agree": False}, tos) == {"agree": False}


def test_size_counts_the_frame_with_its_signature() -> None:
    assert frame_bytes(GUID, COMMAND_ID, "mod", "go", {}) == (
        len(
            json.dumps(
                {
                    "jsonrpc": "2.0",
                    "method": "v2/notifyPluginCommand",
                    "params": {
                        "appGUID": GUID,
                        "epoch": "0000000000",
                        "commandId": COMMAND_ID,
                        "commandSource": "remote",
                        "moduleName": "mod",
                        "commands": [{"name": "go"}],
                    },
                },
                separators=(",", ":"),
            )
        )
        + 89
    )
    check_size(GUID, COMMAND_ID, "mod", "go", {"text": "x" * 1000})
    with pytest.raises(InvalidInput, match="at most 2048") as caught:
        check_size(GUID, COMMAND_ID, "mod", "go", {"text": "é" * 1000})
    assert caught.value.code == "command.too_large"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MODULE = declared(
    param("text", required=True),
    param("when", "datetime", displayFormat="YYYY-MM-DD HH:MM"),
    param("mode", "list", displayValues=["a", "b"]),
    param("agree", "tos", displayName="x", description="u"),
    param("late", requiredOn="when"),
).modules["mod"]


@settings(max_examples=200, deadline=None)
@given(
    JSON
    | st.dictionaries(
        st.sampled_from(["text", "when", "mode", "agree", "late", "other"]),
        JSON | st.sampled_from(["a", "2026-01-01 10:00"]),
    )
)
def test_only_invalid_input_comes_out_and_what_passes_is_declared(params: Any) -> None:
    try:
        values = validate(MODULE, MODULE.commands["go"], params)
    except InvalidInput as error:
        refused = (error.code, str(error.where)[:8])
        assert refused == ("command.params", "$.params")
        return
    names = ["text", "when", "mode", "agree", "late"]
    assert list(values) == [name for name in names if name in values]
    assert values["text"]
    assert all(isinstance(value, (str, bool)) for value in values.values())
    assert validate(MODULE, MODULE.commands["go"], values) == values


def test_normalise_copies() -> None:
    params = {"a": "1"}
    assert normalise(params) == params
    assert normalise(params) is not params


@pytest.mark.parametrize("given", [{"text": "\ud800"}, {"\ud800": "x"}, [{"name": "text", "value": "a\udfff"}]])
def test_half_characters_are_refused(given: Any) -> None:
    with pytest.raises(InvalidInput) as wrong:
        run(given, TEXT)
    assert wrong.value.code == "command.params"
    str(wrong.value).encode()
