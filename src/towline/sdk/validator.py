# SPDX-License-Identifier: Apache-2.0
"""Signing and verifying on its own, for authors who bring their own sockets."""

from __future__ import annotations

import json
from typing import Any

from towline import __version__
from towline.clock import Clock, SystemClock
from towline.errors import TowlineError
from towline.protocols.octo import messages as m
from towline.protocols.octo import validate
from towline.protocols.octo.declaration import NAME, VERSION, Declaration, check_guid
from towline.protocols.octo.envelope import FROM_PLUGIN, Name, decode_tree, parse_envelope, parse_method
from towline.protocols.octo.errors import OctoError, Reason
from towline.protocols.octo.limits import DEFAULT_LIMITS, Limits
from towline.protocols.octo.outgoing import epoch_text
from towline.protocols.octo.signature import make_salt, sign, verify


def fill_macros(text: str, *, app_guid: str, app_name: str, version: str) -> str:
    """``${PLUGIN_NAME}``, ``${PLUGIN_APP_GUID}``, ``${PLUGIN_VERSION}`` and ``${OCTO_SDK_VERSION}`` filled in."""
    for macro, value in (
        ("${PLUGIN_NAME}", app_name),
        ("${PLUGIN_APP_GUID}", app_guid),
        ("${PLUGIN_VERSION}", version),
        ("${OCTO_SDK_VERSION}", __version__),
        ("${PLUGIN_SDK_VERSION}", __version__),
    ):
        text = text.replace(macro, value)
    return text


class JsonValidator:
    """Signs what a plugin sends and verifies what it receives; no connection, no event loop.

    ``sign`` fills an empty or missing ``epoch`` and the macros of template files, checks the message as the agent
    would (size, names, types; after a signed ``notifyPluginUpdate`` also against that declaration) and appends the
    signature. Nothing raises: the reason of the last failure is :attr:`last_error`.

    :param app_guid: of the plugin
    :param app_name: its name, for ``${PLUGIN_NAME}``
    :param version: of the plugin, for ``${PLUGIN_VERSION}``
    :param access_key: signs both ways
    :raises OctoError: one of these breaks a rule
    """

    def __init__(
        self,
        app_guid: str,
        app_name: str,
        version: str,
        access_key: str,
        *,
        limits: Limits = DEFAULT_LIMITS,
        clock: Clock | None = None,
    ) -> None:
        self.app_guid = check_guid(app_guid, "app_guid")
        if NAME.fullmatch(app_name) is None:
            raise OctoError(Reason.SCHEMA, f"{app_name!r} is no name", where="app_name")
        if VERSION.fullmatch(version) is None:
            raise OctoError(Reason.SCHEMA, f"{version!r} is not of the form 1.2.3", where="version")
        self.app_name = app_name
        self.version = version
        self.declaration: Declaration | None = None
        self.last_error: str | None = None
        self._key = access_key
        self._limits = limits
        self._clock = clock or SystemClock()

    def sign(self, text: str) -> str | None:
        """The signed text to send as it is, or None with :attr:`last_error` set."""
        try:
            signed = self._sign(text)
        except TowlineError as exc:
            self.last_error = str(exc)
            return None
        self.last_error = None
        return signed

    def verify(self, text: str) -> bool:
        """Whether an agent that knows this plugin's key sent exactly this text, for this plugin."""
        try:
            self._verify(text)
        except TowlineError as exc:
            self.last_error = str(exc)
            return False
        self.last_error = None
        return True

    def _sign(self, text: str) -> str:
        text = fill_macros(text, app_guid=self.app_guid, app_name=self.app_name, version=self.version)
        tree = _plain(text)
        _, name = parse_method(str(tree.get("method")))
        params = tree.get("params")
        if not isinstance(params, dict):
            raise OctoError(Reason.ENVELOPE, "params must be an object", where="$.params")
        if not params.get("epoch"):
            params["epoch"] = epoch_text(self._clock.now_us())
            text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
        envelope = parse_envelope(text.encode())
        if envelope.version != "v2":
            raise OctoError(Reason.METHOD, "only v2 messages are signed", where="$.method")
        if name not in FROM_PLUGIN:
            raise OctoError(Reason.METHOD, f"{name} is sent by agents, not by plugins", where="$.method")
        declaration = self._check(name, envelope.params)
        signed = sign(text.encode(), self._key, make_salt())
        limit = self._limits.max_bytes(name)
        if len(signed) > limit:
            raise OctoError(
                Reason.SIZE, f"the message has {len(signed)} bytes with its signature; at most {limit} for {name}"
            )
        self.declaration = declaration
        return signed.decode()

    def _check(self, name: Name, params: dict[str, Any]) -> Declaration | None:
        member = "clientAppGUID" if name is Name.LOCAL_COMMAND else "appGUID"
        guid = params.get(member)
        if not isinstance(guid, str) or guid.lower() != self.app_guid:
            raise OctoError(Reason.BINDING, f"must be this plugin's {self.app_guid}", where=f"$.params.{member}")
        if name is Name.UPDATE:
            return Declaration.parse(params, self._limits)
        now_us = self._clock.now_us()
        epoch_us = validate.parse_epoch(str(params["epoch"]), "$.params.epoch")
        rules = validate.Rules(self._limits, now_us)
        if self.declaration is None or name is Name.LOCAL_COMMAND:
            return self.declaration
        module = validate.module_of(self.declaration, str(params.get("moduleName")))
        if name is Name.STATE:
            validate.check_states(module, m.read(params, m.StateMessage).states, epoch_us, rules)
        elif name is Name.METRIC:
            validate.check_metrics(module, m.read(params, m.MetricMessage).metrics, epoch_us, rules)
        elif name is Name.EVENT:
            validate.check_events(module, m.read(params, m.EventMessage).events, epoch_us, rules)
        elif name is Name.ALERT:
            validate.check_alerts(module, m.read(params, m.AlertMessage).alarms, epoch_us, rules)
        else:
            m.read(params, m.CommandAck)
        return self.declaration

    def _verify(self, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        verify(data, self._key)
        envelope = parse_envelope(data)
        guid = envelope.params.get("appGUID", self.app_guid)
        if not isinstance(guid, str) or guid.lower() != self.app_guid:
            raise OctoError(Reason.BINDING, f"is not for this plugin, {self.app_guid}", where="$.params.appGUID")


def _plain(text: str) -> dict[str, Any]:
    # The standard parser keeps a float's digits well enough to write it again; ours gives Decimal.
    decode_tree(text.encode("utf-8", "surrogatepass"))
    try:
        tree = json.loads(text)
    except RecursionError:
        raise OctoError(Reason.PARSE, "nested too deeply") from None
    if isinstance(tree, list):
        raise OctoError(Reason.BATCH, "JSON-RPC batch is not supported", where="$")
    if not isinstance(tree, dict):
        raise OctoError(Reason.ENVELOPE, "a message is a JSON object", where="$")
    return tree
