# SPDX-License-Identifier: Apache-2.0
"""The whole tree of settings, and how it is loaded: the roles' own Structs joined under their sections."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from towline.agent.settings import AgentSettings
from towline.api.settings import DoorSettings
from towline.bus.settings import BusSettings
from towline.config.loader import Flag, Loaded, load
from towline.config.yamlfile import Document, parse
from towline.errors import InvalidInput
from towline.gateway.addresses import join_address, split_address
from towline.gateway.settings import GatewaySettings
from towline.hub.settings import HubSettings

DEFAULT_FILE = "towline.yaml"


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the section ``log``."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Least important level that is written", extra={"live": True}),
    ] = "info"
    format: Annotated[Literal["text", "json"], Meta(description="One line of text, or one JSON object a line")] = "text"
    file: Annotated[
        str, Meta(description="File that gets every line too, a new one each day; empty: standard error only")
    ] = ""
    files: Annotated[int, Meta(description="Earlier days of `log.file` that are kept; 0: all", ge=0)] = 7


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set."""

    data: Annotated[str, Meta(description="Data directory: database, keys, the local agent's spool", min_length=1)] = (
        "./towline-data"
    )
    log: LogSettings = LogSettings()
    bus: BusSettings = BusSettings()
    portal: DoorSettings = DoorSettings()
    gateway: GatewaySettings = GatewaySettings()
    hub: HubSettings = HubSettings()
    agent: AgentSettings = AgentSettings()


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line can say; None: not said."""

    data: Path | None = None
    agent_data: Path | None = None
    bus: str | None = None
    portal_port: int | None = None
    api_port: int | None = None
    clients_port: int | None = None
    center_port: int | None = None
    plugin_port: int | None = None
    listen: str | None = None
    behind_proxy: bool | None = None

    def given(self) -> dict[str, Any]:
        """The flags that were said."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}


_PLAIN = {
    "data": ("--data", ("data",)),
    "agent_data": ("--data", ("agent.data",)),
    "bus": ("--bus", ("bus.url",)),
    "portal_port": ("--portal-port", ("portal.port",)),
    "plugin_port": ("--plugin-port", ("agent.plugin_port",)),
    "behind_proxy": ("--behind-proxy", ("portal.behind_proxy", "gateway.behind_proxy")),
}


def load_settings(
    file: Path | Document | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded[Settings]:
    """Defaults < file < environment < flags. ``file`` None: towline.yaml in the working directory, when it is there.

    :raises InvalidInput: ``config.*``, naming key and place
    """
    environ = os.environ if environ is None else environ
    text = file if isinstance(file, Document) else None
    path = file if isinstance(file, Path) else default_file() if file is None else None
    if path is not None:
        text = parse(read_file(path), str(path))
    said = dict(flags or {})
    plain = [
        Flag(name, key, str(said[word]) if isinstance(said[word], Path) else said[word])
        for word, (name, keys) in _PLAIN.items()
        if word in said
        for key in keys
    ]
    if "listen" in said:
        plain.append(Flag("--listen", "portal.listen", said["listen"]))
    if "engine" in said and "center_port" not in said:
        plain.append(Flag("engine", "gateway.center_listen", ""))
    loaded = load(Settings, file=text, environ=environ, flags=plain)
    addresses = _addresses(loaded.settings.gateway, said)
    return load(Settings, file=text, environ=environ, flags=plain + addresses) if addresses else loaded


def default_file() -> Path | None:
    """``towline.yaml`` of the working directory, when it is there."""
    return Path(DEFAULT_FILE) if Path(DEFAULT_FILE).is_file() else None


def read_file(path: Path) -> str:
    """A settings file's text. InvalidInput ``config.unreadable``."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise InvalidInput(
            "config.unreadable", f"cannot read the settings file: {error.strerror}", where=str(path)
        ) from None
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, len(before[before.rfind(b"\n") + 1 :].decode()) + 1
        raise InvalidInput(
            "config.unreadable", "cannot read the settings file: not UTF-8", where=f"{path}:{line}:{column}"
        ) from None


def _addresses(gateway: GatewaySettings, said: dict[str, Any]) -> list[Flag]:
    """``--listen`` and the port flags change one half of an address that the layers below gave. The center API follows
    the push API's host unless it has an address of its own."""
    flags = []
    if "center_port" in said:
        host = said.get("listen") or (gateway.center_listen or gateway.api_listen).rpartition(":")[0].strip("[]")
        flags.append(_flag("--center-port", "center_listen", host, said["center_port"]))
    elif "listen" in said and gateway.center_listen:
        flags.append(_flag("--listen", "center_listen", said["listen"], split_address(gateway.center_listen)[1]))
    for word, key, value in (
        ("api_port", "api_listen", gateway.api_listen),
        ("clients_port", "clients_listen", gateway.clients_listen),
    ):
        if word in said or "listen" in said:
            host, port = split_address(value)
            name = f"--{word.replace('_', '-')}" if word in said else "--listen"
            flags.append(_flag(name, key, said.get("listen", host), said.get(word, port)))
    return flags


def _flag(name: str, key: str, host: str, port: int) -> Flag:
    if not 0 <= port <= 65535:
        raise InvalidInput("config.invalid", f"{port} is not a port; 0 to 65535", where=name)
    return Flag(name, f"gateway.{key}", join_address(host, port))
