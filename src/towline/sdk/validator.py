# SPDX-License-Identifier: Apache-2.0
"""Signing and verifying on its own, for authors who bring their own sockets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from towline import __version__
from towline.clock import Clock, SystemClock
from towline.errors import TowlineError
from towline.protocols.octo import messages as m
from towline.protocols.octo.declaration import NAME, VERSION, Declaration, ModuleIndex, check_guid
from towline.protocols.octo.envelope import AUTHORIZATION, FROM_PLUGIN, Name, decode_tree, parse_envelope, parse_method
from towline.protocols.octo.errors import ErrorReply, OctoError, Reason
from towline.protocols.octo.guard import Guard
from towline.protocols.octo.limits import DEFAULT_LIMITS, Limits
from towline.protocols.octo.outgoing import epoch_text
from towline.protocols.octo.session import Registered, Session
from towline.protocols.octo.signature import make_salt, sign, verify

_encoder = msgspec.json.Encoder(decimal_format="number")
_DISPLAY: dict[type, str] = {dict: "link", list: "table"}


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

    ``sign`` fills an empty or missing ``epoch`` and the macros of template files, appends the signature, and has the
    message read by an agent's own code: size, names, types. What only an agent knows is left to it: hourly calls, which
    commands are open, whether the epoch is near its clock. Names are those of the last ``notifyPluginUpdate`` signed;
    before it any are taken.
    Nothing raises: the reason of the last failure is :attr:`last_error`.

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
        if not isinstance(access_key, str) or not access_key:
            raise OctoError(Reason.KEY, "must be a text that is not empty", where="access_key")
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
        tree = _tree(text)
        method = str(tree.get("method"))
        if AUTHORIZATION.decode() in method:
            raise OctoError(Reason.SIGNATURE, "the message is signed already", where="$.method")
        _, name = parse_method(method)
        params = tree.get("params")
        if not isinstance(params, dict):
            raise OctoError(Reason.ENVELOPE, "params must be an object", where="$.params")
        now_us = self._clock.now_us()
        if params.get("epoch") in (None, ""):
            params["epoch"] = epoch_text(now_us)
            text = _encoder.encode(tree).decode()
        envelope = parse_envelope(text.encode())
        if envelope.version != "v2":
            raise OctoError(Reason.METHOD, "only v2 messages are signed", where="$.method")
        if name not in FROM_PLUGIN:
            raise OctoError(Reason.METHOD, f"{name} is sent by agents, not by plugins", where="$.method")
        member = "clientAppGUID" if name is Name.LOCAL_COMMAND else "appGUID"
        guid = envelope.params.get(member)
        if not isinstance(guid, str) or guid.lower() != self.app_guid:
            raise OctoError(Reason.BINDING, f"must be this plugin's {self.app_guid}", where=f"$.params.{member}")
        signed = sign(text.encode(), self._key, make_salt())
        limit = self._limits.max_bytes(name)
        if len(signed) > limit:
            raise OctoError(
                Reason.SIZE, f"the message has {len(signed)} bytes with its signature; at most {limit} for {name}"
            )
        self.declaration = self._accepted(name, envelope.params, signed, now_us)
        return signed.decode()

    def _accepted(self, name: Name, params: dict[str, Any], signed: bytes, now_us: int) -> Declaration | None:
        # An agent's session, just opened: what it refuses here any agent refuses, now and after changes of its rules.
        # But for the clock: samples and templates have epochs of long ago, and are signed before they are sent.
        guard = Guard(replace(self._limits, calls_per_hour=0, epoch_window_s=0))
        session = Session(guard)
        session.app_guid = self.app_guid
        session.declaration = self.declaration or _fitting(params)
        if name is Name.COMMAND_ACK:
            ack = m.read(params, m.CommandAck)
            acks = [] if ack.command_acks is msgspec.UNSET else ack.command_acks
            guard.of(self.app_guid).commands.sent(
                ack.command_id,
                module=ack.module_name,
                name=acks[0].name if acks else "",
                source=ack.command_source if ack.command_source == "local" else "remote",
                now_us=now_us,
            )
        seen = session.inspect(signed, now_us)
        event = seen if isinstance(seen, ErrorReply) else session.accept(seen, self._key, now_us)
        if isinstance(event, ErrorReply):
            raise OctoError(event.reason, event.message)
        return event.declaration if isinstance(event, Registered) else self.declaration

    def _verify(self, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        verify(data, self._key)
        envelope = parse_envelope(data)
        guid = envelope.params.get("appGUID", self.app_guid)
        if not isinstance(guid, str) or guid.lower() != self.app_guid:
            raise OctoError(Reason.BINDING, f"is not for this plugin, {self.app_guid}", where="$.params.appGUID")


def _tree(text: str) -> dict[str, Any]:
    tree = decode_tree(text.encode("utf-8", "surrogatepass"))
    if isinstance(tree, list):
        raise OctoError(Reason.BATCH, "JSON-RPC batch is not supported", where="$")
    if not isinstance(tree, dict):
        raise OctoError(Reason.ENVELOPE, "a message is a JSON object", where="$")
    return tree


def _fitting(params: dict[str, Any]) -> Declaration:
    # Declares what the message names, so that all but the names is checked.
    def items(member: str) -> list[dict[str, Any]]:
        found = params.get(member)
        listed = found if isinstance(found, list) else []
        return [item for item in listed if isinstance(item, dict) and isinstance(item.get("name"), str)]

    called = str(params.get("moduleName"))
    index = ModuleIndex(
        spec=m.Module(module_name=called),
        properties={},
        states={
            item["name"]: m.State(name=item["name"], display_type=_DISPLAY.get(type(item.get("value")), "string"))
            for item in items("states")
        },
        metrics={item["name"]: m.Metric(name=item["name"], display_type="custom") for item in items("metrics")},
        events={item["name"]: m.Event(name=item["name"]) for item in items("events")},
        commands={},
        alarms={item["name"]: m.SettingSpec(name=item["name"]) for item in items("alarms")},
        configs={},
    )
    return Declaration(m.Update(app_guid="", app_name="", type="ib", version=""), {called: index})
