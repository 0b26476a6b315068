# SPDX-License-Identifier: Apache-2.0
"""What a plugin registers: built from modules in Python, or taken from a template file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from towline import __version__
from towline.errors import InvalidInput, StartError
from towline.protocols.octo.declaration import Declaration
from towline.protocols.octo.envelope import Name, decode_tree
from towline.protocols.octo.errors import OctoError, Reason
from towline.protocols.octo.limits import Limits
from towline.protocols.octo.validate import module_of
from towline.sdk.declare import Command, Handler, Module
from towline.sdk.items import as_read
from towline.sdk.validator import fill_macros


class Registration:
    """The declaration and the functions behind its commands.

    :param head: further members of the registration in wire names; None is left out
    :param template: the params of a template, instead of modules
    """

    def __init__(
        self,
        app_guid: str,
        name: str,
        version: str,
        *,
        head: Mapping[str, Any],
        limits: Limits,
        template: dict[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.modules: list[Module] = []
        self.handlers: dict[tuple[str, str], Command] = {}
        self._app_guid = app_guid
        self._head = {key: value for key, value in head.items() if value is not None}
        self._limits = limits
        self._template = template
        self._declaration: Declaration | None = None

    def module(self, name: str | None = None, **content: Any) -> Module:
        """Add a module; by default named as the plugin. ``content`` is that of :class:`Module`."""
        module = Module(name or self.name, **content)
        self.modules.append(module)
        return module

    def command(self, name: str, *, module: str | None = None) -> Callable[[Handler], Handler]:
        """For :meth:`from_declaration`: decorate the function of a command that the template declares."""

        def attach(handler: Handler) -> Handler:
            where = module or next(
                (found for found, index in self.declaration.modules.items() if name in index.commands), ""
            )
            if name not in module_of(self.declaration, where, "$.module").commands:
                raise InvalidInput("sdk.handler", f"the declaration has no command {name!r} in {where!r}")
            self.handlers[where, name] = Command(name, handler=handler)
            return handler

        return attach

    def render(self) -> dict[str, Any]:
        """The ``params`` of the registration, without its epoch filled in."""
        if self._template is not None:
            return {**self._template, "epoch": ""}
        return {
            "sdk": __version__,
            "appGUID": self._app_guid,
            "appName": self.name,
            "epoch": "",
            **self._head,
            "version": self.version,
            "modules": [module.render() for module in self.modules],
        }

    @property
    def declaration(self) -> Declaration:
        """The checked declaration; it is taken at the first use and stands from then on.

        :raises OctoError: it breaks a rule
        """
        if self._declaration is None:
            self._declaration = self._take()
        return self._declaration

    def refresh(self) -> None:
        """Take the declaration anew.

        :raises OctoError: it breaks a rule; the one before stands
        """
        self._declaration = self._take()

    def _take(self) -> Declaration:
        # As the agent reads it, or a text that it refuses would be sent again for ever.
        declaration = Declaration.parse(as_read(Name.UPDATE, self.render()), self._limits)
        for module in self.modules:
            for command in module.commands or ():
                self.handlers[module.module_name, command.name] = command
        return declaration


def read_template(
    declaration: str | os.PathLike[str] | Mapping[str, Any], *, app_guid: str, name: str, version: str
) -> dict[str, Any]:
    """The params of a ``plugin_update_template.json``, macros filled.

    :param declaration: the file, its text, or the decoded message; with or without the envelope
    :raises StartError: the file cannot be read
    :raises OctoError: it is no registration, or one of another plugin
    """
    text = fill_macros(_template_text(declaration), app_guid=app_guid, app_name=name, version=version)
    tree = decode_tree(text.encode())
    params = tree.get("params", tree) if isinstance(tree, dict) else None
    if not isinstance(params, dict):
        raise OctoError(Reason.SCHEMA, "a template is a notifyPluginUpdate message", where="$")
    params = {"appGUID": app_guid, **params}
    if Declaration.parse(params).app_guid != app_guid:
        raise OctoError(Reason.BINDING, f"the credential is for {app_guid}", where="$.params.appGUID")
    return params


def _template_text(declaration: str | os.PathLike[str] | Mapping[str, Any]) -> str:
    if isinstance(declaration, Mapping):
        return json.dumps(declaration)
    if isinstance(declaration, str) and declaration.lstrip().startswith("{"):
        return declaration
    path = Path(declaration)
    try:
        return path.read_text("utf-8")
    except OSError as exc:
        raise StartError("sdk.template", f"cannot read the template: {exc.strerror}", where=str(path)) from exc
