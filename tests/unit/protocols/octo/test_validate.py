# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.protocols.octo.samples import EPOCH, NOW, update
from towline.protocols.octo import DEFAULT_LIMITS, Declaration, Limits, OctoError, check_command, check_setting
from towline.protocols.octo import messages as m
from towline.protocols.octo import validate as v

DECLARATION = Declaration.parse(update())
MODULE = DECLARATION.modules["main"]
RULES = v.Rules(DEFAULT_LIMITS, NOW)
STRICT = v.Rules(Limits(strict=True), NOW)


def refused(call: Any) -> str:
    with pytest.raises(OctoError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("text", ["0", "-0", "12.5", "999999999999999.99", "-1.05", "007"])
def test_metrics_as_text_stay_as_they_are(text: str) -> None:
    assert v.decimal_text(text, "$") == text


@pytest.mark.parametrize(
    "value", ["", "1.", ".5", "1.234", "1e3", "1,5", "+1", " 1", "1\n", "1" * 16, "NaN", None, True, [], {}]
)
def test_what_is_no_metric(value: Any) -> None:
    assert "$.x" in refused(lambda: v.decimal_text(value, "$.x"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (298.15, "298.15"),
        (5, "5"),
        (Decimal("1.50"), "1.5"),
        (Decimal("1E+5"), "100000"),
        (Decimal("1E-999999999"), "0"),
        (Decimal("-0.001"), "0"),
        (0.1 + 0.2, "0.3"),
        (-2.675, "-2.68"),
        (999999999999999, "999999999999999"),
    ],
)
def test_numbers_become_decimal_text(value: Any, text: str) -> None:
    assert v.decimal_text(value, "$") == text


@pytest.mark.parametrize("value", [10**15, Decimal("1E+999999999"), Decimal("999999999999999.999")])
def test_numbers_too_large(value: Any) -> None:
    assert "15 integer digits" in refused(lambda: v.decimal_text(value, "$"))


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), Decimal("NaN"), Decimal("sNaN")])
def test_numbers_that_are_not_finite(value: Any) -> None:
    assert "is not a finite number" in refused(lambda: v.decimal_text(value, "$"))


def test_strict_refuses_numbers() -> None:
    assert "decimal in a string" in refused(lambda: v.decimal_text(5, "$", strict=True))


@settings(max_examples=200, deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False) | st.floats() | st.integers())
def test_any_number_gives_a_decimal_or_a_documented_error(value: Any) -> None:
    try:
        text = v.decimal_text(value, "$")
    except OctoError:
        return
    assert v.METRIC.fullmatch(text)
    assert abs(Decimal(text) - Decimal(str(value))) <= Decimal("0.005")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=25))
def test_any_text_gives_itself_or_a_documented_error(text: str) -> None:
    try:
        assert v.decimal_text(text, "$") == text
    except OctoError:
        assert v.METRIC.fullmatch(text) is None


def test_states_by_their_display_type() -> None:
    items = [
        m.StateItem(name="status", value="fine"),
        m.StateItem(name="disks", value=[{"Disk": "a"}], time=str(EPOCH - 5)),
        m.StateItem(name="page", value={"url": "ssh://x", "extra": 1}),
    ]
    states = v.check_states(MODULE, items, NOW, RULES)
    assert [(state.name, state.value, state.time_us) for state in states] == [
        ("status", "fine", NOW),
        ("disks", [{"Disk": "a"}], NOW - 5_000_000),
        ("page", {"url": "ssh://x"}, NOW),
    ]


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (m.StateItem(name="nope", value="x"), "$.params.states[0].name: 'nope' is no state of module 'main'"),
        (m.StateItem(name="status", value=5), "$.params.states[0].value: a string value is a string"),
        (m.StateItem(name="status", value=None), "not null"),
        (m.StateItem(name="disks", value={}), "$.params.states[0].value: a table value is an array of objects"),
        (m.StateItem(name="page", value="x"), "$.params.states[0].value: a link value"),
        (m.StateItem(name="status", value="x", time="now"), "$.params.states[0].time: 'now' is no epoch"),
        (m.StateItem(name="status", value="x", time=str(EPOCH + 601)), "$.params.states[0].time: time error"),
    ],
)
def test_states_refused(item: m.StateItem, says: str) -> None:
    assert says in refused(lambda: v.check_states(MODULE, [item], NOW, RULES))


def test_long_state_strings_count_when_strict() -> None:
    item = m.StateItem(name="status", value="x" * 1503)
    v.check_states(MODULE, [item], NOW, RULES)
    assert "1503 bytes; at most 512" in refused(lambda: v.check_states(MODULE, [item], NOW, STRICT))


def test_metrics_events_and_alerts() -> None:
    metrics = v.check_metrics(MODULE, [m.MetricItem(name="temp", value=298.15, time=str(EPOCH))], NOW, RULES)
    assert metrics == (v.MetricSample("temp", "298.15", NOW),)
    events = v.check_events(MODULE, [m.EventItem(name="login"), m.EventItem(name="login", value="")], NOW, RULES)
    assert [event.value for event in events] == [None, ""]
    alert = m.AlertItem(name="hot", action="trigger", time=str(EPOCH), message="")
    assert v.check_alerts(MODULE, [alert], NOW, RULES) == (v.AlertChange("hot", "trigger", "", NOW),)


def test_a_time_of_zero_is_no_time() -> None:
    (state,) = v.check_states(MODULE, [m.StateItem(name="status", value="x", time="0")], NOW, RULES)
    assert state.time_us == NOW


def test_an_epoch_in_milliseconds_is_told_what_it_is() -> None:
    assert "(not milliseconds) since 1970, at most 11 digits" in refused(lambda: v.parse_epoch("1795951506157", "$"))


def test_undeclared_names_and_wrong_actions() -> None:
    metric = m.MetricItem(name="nope", value="1")
    event = m.EventItem(name="nope")
    alert = m.AlertItem(name="nope", action="trigger", time="1", message="")
    wrong = m.AlertItem(name="hot", action="fire", time="1", message="")
    timeless = m.AlertItem(name="hot", action="resolve", time="", message="")
    assert "is no metric" in refused(lambda: v.check_metrics(MODULE, [metric], NOW, RULES))
    assert "is no event" in refused(lambda: v.check_events(MODULE, [event], NOW, RULES))
    assert "is no alarm" in refused(lambda: v.check_alerts(MODULE, [alert], NOW, RULES))
    assert "trigger, resolve" in refused(lambda: v.check_alerts(MODULE, [wrong], NOW, RULES))
    assert "is no epoch" in refused(lambda: v.check_alerts(MODULE, [timeless], NOW, RULES))


def test_commands_come_in_declaration_order() -> None:
    given_params: dict[str, str | bool] = {"terms": False, "outlet": "B", "power": "on", "day": "2026-11-21"}
    values = check_command(DECLARATION, "main", "all_kinds", given_params)
    assert [(value.name, value.value) for value in values] == [
        ("day", "2026-11-21"),
        ("power", "on"),
        ("outlet", "B"),
        ("terms", False),
    ]


@pytest.mark.parametrize(
    ("module", "command", "params", "says"),
    [
        ("nope", "say_hello", {}, "$.module: 'nope' is no module"),
        ("main", "nope", {}, "$.command: 'nope' is no command of module 'main'"),
        ("main", "say_hello", {}, "$.params.person: a value is required"),
        ("main", "say_hello", {"person": ""}, "$.params.person: a value is required"),
        ("main", "say_hello", {"person": "x", "age": "5"}, "$.params.age: the command declares no such parameter"),
        ("main", "say_hello", {"person": True}, "$.params.person: a string value is a string"),
        ("main", "say_hello", {"person": "a\0"}, "U+0000"),
        ("main", "all_kinds", {"power": "on"}, "$.params.outlet: a value is required"),
        ("main", "all_kinds", {"power": "maybe"}, "$.params.power: 'maybe' is none of off, on"),
        ("main", "all_kinds", {"outlet": "C"}, "$.params.outlet: 'C' is none of A, B"),
        ("main", "all_kinds", {"day": "2026-02-30"}, "$.params.day: there is no such day or time as 2026-02-30"),
        ("main", "all_kinds", {"day": "٢٠٢٦-٠١-٠١"}, "is not of the form YYYY-MM-DD"),
        ("main", "all_kinds", {"day": "2026-2-3"}, "YYYY-MM-DD"),
        ("main", "all_kinds", {"terms": "yes"}, "$.params.terms: a tos value is true or false"),
    ],
)
def test_commands_refused(module: str, command: str, params: dict[str, str | bool], says: str) -> None:
    assert says in refused(lambda: check_command(DECLARATION, module, command, params))


def test_strict_limits_a_commands_values() -> None:
    long: dict[str, str | bool] = {"person": "x" * 600}
    check_command(DECLARATION, "main", "say_hello", long)
    assert "at most 512" in refused(
        lambda: check_command(DECLARATION, "main", "say_hello", long, limits=Limits(strict=True))
    )


def test_settings() -> None:
    assert check_setting(DECLARATION, "alarms", "main", "hot", {"limit": "301.15"})[0].value == "301.15"
    assert check_setting(DECLARATION, "configs", "main", "report", {"every": "5"})[0].value == "5"
    assert "Kelvin" in refused(lambda: check_setting(DECLARATION, "alarms", "main", "hot", {"limit": "28 C"}))
    assert "'report' is none of module 'main''s alarms" in refused(
        lambda: check_setting(DECLARATION, "alarms", "main", "report", {})
    )
    assert "is none of 1, 5" in refused(lambda: check_setting(DECLARATION, "configs", "main", "report", {"every": "7"}))


def test_required_terms_must_be_agreed_to() -> None:
    tree = update()
    tree["modules"][0]["commands"][1]["params"][1][2]["required"] = True
    declaration = Declaration.parse(tree)
    assert "must be agreed to" in refused(lambda: check_command(declaration, "main", "all_kinds", {"terms": False}))
    assert check_command(declaration, "main", "all_kinds", {"terms": True})[0].value is True
