# SPDX-License-Identifier: Apache-2.0
"""Messages to plugins: built, encoded compactly, signed last (spec octo §3.2, §3.3, §3.8 to §3.11)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from towline.protocols.octo import messages as m
from towline.protocols.octo.envelope import Name
from towline.protocols.octo.errors import OctoError, Reason
from towline.protocols.octo.limits import DEFAULT_LIMITS, SIGNATURE_BYTES, Limits
from towline.protocols.octo.signature import make_salt, sign

US = 1_000_000
_encoder = msgspec.json.Encoder()


def epoch_text(now_us: int) -> str:
    """Microseconds as octo's decimal seconds."""
    return str(now_us // US)


def render(name: Name, params: dict[str, Any] | m.Wire) -> bytes:
    """One unsigned v2 message."""
    return _encoder.encode({"jsonrpc": "2.0", "method": f"v2/{name.value}", "params": params})


def signed(name: Name, params: dict[str, Any] | m.Wire, key: str, salt: bytes | None = None) -> str:
    """One signed v2 message as the text of a frame.

    :param salt: 16 printable bytes; None draws them
    """
    return sign(render(name, params), key, salt or make_salt()).decode()


def command(
    key: str,
    *,
    app_guid: str,
    module: str,
    name: str,
    params: Sequence[m.ParamValue],
    command_id: str,
    now_us: int,
    source: str = "remote",
    limits: Limits = DEFAULT_LIMITS,
    salt: bytes | None = None,
) -> str:
    """``notifyPluginCommand`` with one command; ``params`` is always there, ``[]`` if it has none.

    :raises OctoError: ``size``: with its signature it would be over the payload limit
    """
    body = {
        "appGUID": app_guid,
        "moduleName": module,
        "commandSource": source,
        "commands": [{"name": name, "params": list(params)}],
        "commandId": command_id,
        "epoch": epoch_text(now_us),
    }
    _fits(Name.COMMAND, body, limits, f"command {name!r} with its values")
    return signed(Name.COMMAND, body, key, salt)


def check_command_size(
    *,
    module: str,
    name: str,
    params: Sequence[m.ParamValue],
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """For whoever queues a command: would it fit once it is rendered and signed?

    :raises OctoError: ``size``, naming bytes and limit
    """
    body = {
        "appGUID": "0" * 36,
        "moduleName": module,
        "commandSource": "remote",
        "commands": [{"name": name, "params": list(params)}],
        "commandId": "0" * 40,
        "epoch": "0" * 10,
    }
    _fits(Name.COMMAND, body, limits, f"command {name!r} with its values")


def command_ack(
    key: str,
    *,
    app_guid: str,
    module: str,
    name: str,
    command_id: str,
    state: str,
    result_json: str | None,
    now_us: int,
    source: str = "local",
    salt: bytes | None = None,
) -> str:
    """``notifyPluginCommandAck`` to the plugin that asked for a local command."""
    item: dict[str, Any] = {"name": name}
    if result_json is not None:
        item["result"] = msgspec.Raw(result_json.encode())
    body = {
        "appGUID": app_guid,
        "epoch": epoch_text(now_us),
        "commandId": command_id,
        "commandSource": source,
        "moduleName": module,
        "commandState": state,
        "commandAcks": [item],
    }
    return signed(Name.COMMAND_ACK, body, key, salt)


def alarm_updates(
    key: str,
    *,
    app_guid: str,
    version: str,
    modules: Iterable[m.AlarmModule],
    now_us: int,
    limits: Limits = DEFAULT_LIMITS,
) -> list[str]:
    """``notifyPluginAlarmUpdate``, one message for each module; a module without alarms resets all of its own.

    :raises OctoError: ``size``
    """
    return [
        signed(Name.ALARM_UPDATE, body, key) for body in _settings("alarms", app_guid, version, modules, now_us, limits)
    ]


def config_updates(
    key: str,
    *,
    app_guid: str,
    version: str,
    modules: Iterable[m.ConfigModule],
    now_us: int,
    limits: Limits = DEFAULT_LIMITS,
) -> list[str]:
    """``notifyPluginConfigUpdate``, one message for each module.

    :raises OctoError: ``size``
    """
    return [
        signed(Name.CONFIG_UPDATE, body, key)
        for body in _settings("configs", app_guid, version, modules, now_us, limits)
    ]


def check_settings_size(
    kind: Literal["alarms", "configs"],
    module: m.AlarmModule | m.ConfigModule,
    version: str,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """For the hub, before it saves: would this module's settings fit once they are rendered and signed?

    :raises OctoError: ``size``, naming bytes and limit
    """
    _settings(kind, "0" * 36, version, [module], 10**9 * US, limits)


def agent_event(key: str, *, app_guid: str, online: bool, now_us: int, salt: bytes | None = None) -> str:
    """``notifyAgentEvent``: the agent's way to its hub is open or not."""
    body = m.AgentEvent(
        server_connectivity="online" if online else "offline",
        app_guid=app_guid,
        epoch=epoch_text(now_us),
    )
    return signed(Name.AGENT_EVENT, body, key, salt)


def _settings(
    kind: Literal["alarms", "configs"],
    app_guid: str,
    version: str,
    modules: Iterable[m.AlarmModule | m.ConfigModule],
    now_us: int,
    limits: Limits,
) -> list[dict[str, Any]]:
    name = Name.ALARM_UPDATE if kind == "alarms" else Name.CONFIG_UPDATE
    bodies = []
    for module in modules:
        items = module.alarms if isinstance(module, m.AlarmModule) else module.configs
        shown = [{**msgspec.to_builtins(item), "params": item.params} for item in items]
        body = {
            "appGUID": app_guid,
            "epoch": epoch_text(now_us),
            "version": version,
            "modules": [{"moduleName": module.module_name, "epoch": module.epoch, kind: shown}],
        }
        _fits(name, body, limits, f"the {kind} of module {module.module_name!r}")
        bodies.append(body)
    return bodies


def _fits(name: Name, body: dict[str, Any], limits: Limits, what: str) -> None:
    size = len(render(name, body)) + SIGNATURE_BYTES
    limit = limits.max_payload_bytes
    if size > limit:
        raise OctoError(Reason.SIZE, f"{what} would be {size} bytes with its signature; at most {limit}")
