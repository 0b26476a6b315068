# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.config.loader import Flag, dump, load
from towline.config.reference import markdown
from towline.config.schema import settings
from towline.config.yamlfile import parse
from towline.errors import InvalidInput


class Server(msgspec.Struct, frozen=True):
    port: Annotated[int, msgspec.Meta(description="Port.", ge=0, le=65535)] = 1
    entry: Annotated[str, msgspec.Meta(description="Script.")] = ""
    token: Annotated[str, msgspec.Meta(description="Secret.", extra={"secret": True})] = ""


class Gateway(msgspec.Struct, frozen=True):
    port: Annotated[int, msgspec.Meta(description="Port.", ge=0, le=65535)] = 6790
    mode: Annotated[Literal["a", "b"], msgspec.Meta(description="Mode.")] = "a"
    servers: Annotated[tuple[Server, ...], msgspec.Meta(description="Listeners.")] = ()
    password: Annotated[str, msgspec.Meta(description="Secret.", extra={"secret": True, "live": True})] = ""
    level: Annotated[float | None, msgspec.Meta(description="Level.")] = None

    def __post_init__(self) -> None:
        if self.password == "weak":
            raise ValueError("password: 'weak' is weak: choose another")


class Tree(msgspec.Struct, frozen=True):
    data: Annotated[str, msgspec.Meta(description="Directory.")] = "./d"
    gateway: Gateway = Gateway()


def test_layers_override_in_order() -> None:
    loaded = load(
        Tree,
        file=("t.yaml", "data: /x\ngateway:\n  port: 1\n  mode: b\n"),
        environ={"TOWLINE_GATEWAY__PORT": "2", "TOWLINE_GATEWAY__PASSWORD": "123", "HOME": "/"},
        flags=[Flag("--port", "gateway.port", 3)],
    )
    assert loaded.settings == Tree(data="/x", gateway=Gateway(port=3, mode="b", password="123"))
    assert loaded.sources["gateway.port"] == "--port"
    assert loaded.sources["gateway.mode"] == "t.yaml:4:3"
    assert loaded.sources["gateway.password"] == "TOWLINE_GATEWAY__PASSWORD"


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("gateway:\n  prt: 1\n", "config.unknown_key", ["t.yaml:2:3", "gateway.prt", "did you mean port?"]),
        ("gateway:\n  port: many\n", "config.invalid", ["t.yaml:2:3", "gateway.port", "Expected `int`"]),
        ("gateway:\n  port: 70000\n", "config.invalid", ["t.yaml:2:3", "gateway.port", "<= 65535"]),
        ("gateway:\n  mode: c\n", "config.invalid", ["t.yaml:2:3", "gateway.mode"]),
        (
            "gateway:\n  servers:\n    - port: x\n",
            "config.invalid",
            ["t.yaml:3:7", "gateway.servers[0].port"],
        ),
        (
            "gateway:\n  servers:\n    - prot: 3\n",
            "config.unknown_key",
            ["t.yaml:3:7", "gateway.servers[0].prot"],
        ),
        ("gateway: 3\n", "config.invalid", ["t.yaml:1:1", "gateway"]),
        (
            "gateway:\n  mode: a\n  password: weak\n",
            "config.invalid",
            ["t.yaml:3:3", "gateway.password: 'weak' is weak"],
        ),
        ("gateway:\n  level: .inf\n", "config.invalid", ["t.yaml:2:3", "gateway.level: inf is not a finite number"]),
        ("gateway:\n  level: -.inf\n", "config.invalid", ["t.yaml:2:3", "gateway.level: -inf is not"]),
        ("gateway:\n  level: .nan\n", "config.invalid", ["t.yaml:2:3", "gateway.level: nan is not"]),
        ("gateway: {a: [\n", "config.syntax", ["t.yaml:2:1"]),
        ("data: a\ndata: b\n", "config.duplicate_key", ["t.yaml:2:1", "'data'"]),
        ("- 1\n", "config.invalid", ["t.yaml:1:1"]),
        ("a: &a [*a]\n", "config.too_deep", ["t.yaml:1:"]),
        ("data: ä\ngateway: x\x00y\n", "config.syntax", ["t.yaml:2:11: not valid YAML: U+0000 must not stand in it"]),
        ("\x00", "config.syntax", ["t.yaml:1:1:"]),
    ],
)
def test_errors_name_key_line_and_column(text: str, code: str, words: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        load(Tree, file=("t.yaml", text))
    assert caught.value.code == code
    for word in words:
        assert word in str(caught.value)


def test_variable_errors_name_the_variable() -> None:
    with pytest.raises(InvalidInput, match=r"TOWLINE_GATEWAY__PORT: gateway\.port: Expected `int`"):
        load(Tree, environ={"TOWLINE_GATEWAY__PORT": "x"})
    with pytest.raises(InvalidInput, match=r"TOWLINE_GATEWAY__PRT: there is no setting gateway\.prt"):
        load(Tree, environ={"TOWLINE_GATEWAY__PRT": "1"})
    with pytest.raises(InvalidInput, match=r"TOWLINE_GATEWAY__LEVEL: gateway\.level: inf is not"):
        load(Tree, environ={"TOWLINE_GATEWAY__LEVEL": ".inf"})
    with pytest.raises(InvalidInput, match=r"TOWLINE_GATEWAY__PASSWORD: gateway\.password: 'weak'"):
        load(Tree, environ={"TOWLINE_GATEWAY__PASSWORD": "weak"})
    with pytest.raises(InvalidInput, match=r"TOWLINE_GATEWAY__PORT"):
        load(Tree, environ={"TOWLINE_GATEWAY__PORT": "[1"})


def test_a_variable_stands_for_all_that_the_file_has_below_it() -> None:
    file = ("t.yaml", "gateway: {servers: [{port: 1}]}")
    with pytest.raises(InvalidInput, match=r"^TOWLINE_GATEWAY__SERVERS: gateway\.servers\[0\]\.port: Expected"):
        load(Tree, file=file, environ={"TOWLINE_GATEWAY__SERVERS": "[{port: x}]"})


def test_places_of_settings_that_turn_out_wrong_later() -> None:
    text = "gateway:\n  port: 5\n  servers:\n    - port: 1\n"
    loaded = load(
        Tree,
        file=("t.yaml", text),
        environ={"TOWLINE_GATEWAY__PASSWORD": "p"},
        flags=[Flag("--data", "data", "/x")],
    )
    assert loaded.locate("gateway.port") == ("t.yaml:2:3", "gateway.port")
    assert loaded.locate("gateway.servers[0].entry") == ("t.yaml:4:7", "gateway.servers[0].entry")
    assert loaded.locate("gateway.level") == ("t.yaml:1:1", "gateway.level")
    assert loaded.locate("gateway.password") == ("TOWLINE_GATEWAY__PASSWORD", "gateway.password")
    assert loaded.locate("data") == ("--data", "data")
    assert load(Tree).locate("data") == (None, "data")


def test_flag_errors_name_the_flag() -> None:
    with pytest.raises(InvalidInput, match=r"--port: gateway\.port"):
        load(Tree, flags=[Flag("--port", "gateway.port", -1)])


def test_only_true_and_false_are_booleans() -> None:
    assert parse("{on: yes, off: no, a: true, b: False}", "x").value == {
        "on": "yes",
        "off": "no",
        "a": True,
        "b": False,
    }


def test_dump_says_where_a_value_came_from_and_hides_secrets() -> None:
    text = dump(load(Tree, file=("t.yaml", "gateway: {port: 5, password: hush}")))
    assert "  port: 5  # t.yaml:1:11" in text
    assert "hush" not in text
    assert parse(text, "again").value["gateway"]["mode"] == "a"


def test_dump_hides_the_password_inside_an_address() -> None:
    loaded = load(Tree, file=("t.yaml", "data: 'nats://joe:hush@a:4222,tls://b:1,nats://:hush@c'"))
    assert "data: nats://joe:********@a:4222,tls://b:1,nats://:********@c" in dump(loaded)
    assert "joe:hush@a" in dump(loaded, reveal=True)


def test_dump_hides_secrets_inside_lists() -> None:
    loaded = load(Tree, file=("t.yaml", "gateway: {servers: [{port: 5, token: hush}, {entry: e.py}]}"))
    text = dump(loaded)
    assert "hush" not in text
    assert "e.py" in text
    assert "hush" in dump(loaded, reveal=True)


def test_reference_lists_every_setting() -> None:
    page = markdown(Tree)
    for setting in settings(Tree):
        assert f"`{setting.key}`" in page
    assert "gateway.servers[].port" in page
    assert "at once" in page


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        load(Tree, file=("t.yaml", text))
