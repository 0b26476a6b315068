# SPDX-License-Identifier: Apache-2.0
"""What a plugin author declares, as small objects that render to octo's JSON."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from towline.errors import InvalidInput
from towline.protocols.octo.messages import wire_name

Handler = Callable[..., Awaitable[Any]]
"""An async function; its result (an object, a string or None) becomes the command's."""

Refusal = Callable[..., str | None]
"""Looks at a command's parameters before it is accepted; the text returned is why it is refused."""

H = TypeVar("H", bound=Handler)


class _Rendered:
    """Renders fields that are set; ``name`` first, as published declarations have it."""

    def render(self) -> dict[str, Any]:
        """The wire form."""
        result: dict[str, Any] = {}
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if not item.metadata.get("wire", True) or value is None:
                continue
            if isinstance(value, list | tuple):
                value = [_render(entry) for entry in value]
            result[wire_name(item.name)] = value
        return result


def _render(value: Any) -> Any:
    if isinstance(value, _Rendered):
        return value.render()
    if isinstance(value, list | tuple):
        return [_render(entry) for entry in value]
    return value


@dataclass(frozen=True)
class Param(_Rendered):
    """One parameter of a command, alarm or config; the types are listed in docs/protocols/octo.md."""

    name: str
    display_name: str | None = None
    description: str | None = None
    display_type: str = "string"
    required: bool = False
    required_on: str | None = None
    display_values: Sequence[str] | None = None
    default_value: str | None = None
    display_format: str | None = None
    value_from_property: str | None = None
    display_mask: bool | None = None
    value_encoding: str | None = None


@dataclass(frozen=True)
class Property(_Rendered):
    """A static fact, sent with the registration."""

    name: str
    value: Any = ""
    display_type: str = "string"
    display_category: str | None = None
    display_name: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class State(_Rendered):
    """A value of which only the latest counts: ``string``, ``table`` or ``link``."""

    name: str
    display_type: str = "string"
    display_category: str | None = None
    display_name: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class Metric(_Rendered):
    """A number over time; ``temperature`` is sent in Kelvin, ``custom`` needs a unit."""

    name: str
    display_unit: str | None = None
    display_type: str = "custom"
    display_category: str | None = None
    display_name: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class Event(_Rendered):
    """Something that happens."""

    name: str
    display_category: str | None = None
    display_name: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class Command(_Rendered):
    """A command and the function behind it."""

    name: str
    type: str = "asynchronous"
    display_category: str | None = None
    display_name: str | None = None
    description: str | None = None
    params: Sequence[Param | Sequence[Param]] = ()
    display_on_property: Mapping[str, Sequence[str]] | None = None
    handler: Handler | None = field(default=None, metadata={"wire": False}, compare=False)
    refuse: Refusal | None = field(default=None, metadata={"wire": False}, compare=False)

    def __post_init__(self) -> None:
        if self.refuse is not None and _is_async(self.refuse):
            raise InvalidInput(
                "sdk.handler",
                f"refuse= of command {self.name!r} is called before the command is accepted and cannot be async",
            )


@dataclass(frozen=True)
class Alarm(_Rendered):
    """An alarm that operators can switch on for a group of devices."""

    name: str
    display_category: str | None = None
    display_name: str | None = None
    description: str | None = None
    params: Sequence[Param] = ()


@dataclass(frozen=True)
class Config(_Rendered):
    """A setting that operators give to a group of devices."""

    name: str
    display_category: str | None = None
    display_name: str | None = None
    description: str | None = None
    params: Sequence[Param] = ()


@dataclass
class Module(_Rendered):
    """A part of a plugin. A list left None is left out of the declaration."""

    module_name: str
    display_name: str | None = None
    description: str | None = None
    properties: list[Property] | None = None
    states: list[State] | None = None
    metrics: list[Metric] | None = None
    events: list[Event] | None = None
    commands: list[Command] | None = None
    alarms: list[Alarm] | None = None
    configs: list[Config] | None = None

    def command(
        self,
        name: str,
        *,
        display_category: str | None = None,
        display_name: str | None = None,
        description: str | None = None,
        params: Sequence[Param | Sequence[Param]] = (),
        display_on_property: Mapping[str, Sequence[str]] | None = None,
        refuse: Refusal | None = None,
    ) -> Callable[[H], H]:
        """Decorate an async function that runs this command.

        It gets the parameters as keyword arguments (``-`` becomes ``_``); one that was not given is left to the
        function's default, or is None. An argument called ``call`` gets the
        :class:`~towline.sdk.plugin.Call`. What it returns is the result; what it raises makes the command ERRORED.

        :param refuse: a plain function, called with the same arguments before the command is accepted; a text returned
            by it rejects the command
        :raises InvalidInput: the function is not async, or ``refuse`` is
        """

        def declare(handler: H) -> H:
            if not _is_async(handler):
                raise InvalidInput("sdk.handler", f"command {name!r} needs an async function")
            if self.commands is None:
                self.commands = []
            self.commands.append(
                Command(
                    name,
                    display_category=display_category,
                    display_name=display_name,
                    description=description,
                    params=params,
                    display_on_property=display_on_property,
                    handler=handler,
                    refuse=refuse,
                )
            )
            return handler

        return declare


def _is_async(handler: Callable[..., Any]) -> bool:
    # A plain bool: the standard check narrows the type and would lose the decorated function's own.
    return inspect.iscoroutinefunction(handler)
