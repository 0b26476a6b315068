# SPDX-License-Identifier: Apache-2.0
"""What can be set about an agent. Times are seconds, sizes are bytes."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class AllowSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What operators may do on this device. The device decides; the hub cannot override it."""

    shell: Annotated[bool, Meta(description="Run shell commands that operators send.")] = True
    files: Annotated[bool, Meta(description="Read and write files for operators.")] = True
    packages: Annotated[bool, Meta(description="Install and remove plugin packages.")] = True
    reboot: Annotated[bool, Meta(description="Let the bundled host plugin reboot this machine.")] = False


class OctoSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of the plugin API."""

    strict: Annotated[
        bool,
        Meta(
            description="Hold every message to max_payload_bytes and refuse what older SDKs leave out or overdo: "
            "missing `sdk`, string results, number metrics, long strings and tables."
        ),
    ] = False
    allow_v1: Annotated[bool, Meta(description="Accept unsigned `v1/` methods; for tests on one's own machine.")] = (
        False
    )
    max_payload_bytes: Annotated[
        int, Meta(description="Largest message, its signature included.", ge=256, le=1_048_576)
    ] = 2048
    max_update_bytes: Annotated[
        int, Meta(description="Largest notifyPluginUpdate, its signature included.", ge=256, le=131_072)
    ] = 131_072
    max_ack_bytes: Annotated[
        int, Meta(description="Largest notifyPluginCommandAck, its signature included.", ge=256, le=65_536)
    ] = 16_384
    epoch_window_s: Annotated[
        int,
        Meta(description="How far a message's time may be from the device's clock, either way; 0: not checked.", ge=0),
    ] = 600
    calls_per_hour: Annotated[int, Meta(description="Messages a plugin may send in any 3600 s; 0: no limit.", ge=0)] = (
        500
    )
    agent_events: Annotated[
        bool, Meta(description="Tell plugins with notifyAgentEvent when the link to the hub comes or goes.")
    ] = True
    max_connections: Annotated[
        int, Meta(description="Plugin connections at once; further ones are refused.", ge=1, le=1000)
    ] = 100


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the section ``agent``."""

    data: Annotated[
        str, Meta(description="Data directory of the agent: key, spool, journal; empty: `agent` under `data`.")
    ] = ""
    server: Annotated[
        str,
        Meta(
            description="Address of the link, `wss://host:6790/link/v1`; several, separated by commas, are tried in turn; "
            "empty: the one of the enrolment line. Plain `ws://` works on loopback only."
        ),
    ] = ""
    enrol_file: Annotated[
        str,
        Meta(
            description="File that holds an enrolment line; an agent that is not enrolled waits for it and redeems it."
        ),
    ] = ""
    name: Annotated[
        str, Meta(description="Name shown for this device when it enrols; empty: its host name.", max_length=200)
    ] = ""
    plugin_port: Annotated[
        int, Meta(description="Port of the plugin API on 127.0.0.1 and ::1; 0: any free one.", ge=0, le=65_535)
    ] = 55_688
    flush_s: Annotated[float, Meta(description="How often what was measured is sent to the hub.", ge=0.05, le=3600)] = (
        1.0
    )
    spool_bytes: Annotated[
        int,
        Meta(
            description="What is kept while the hub is away; when it is full the oldest metrics go first, counted.",
            ge=1_048_576,
        ),
    ] = 512 * 1024 * 1024
    heartbeat_s: Annotated[
        float,
        Meta(
            description="How often the link is probed; the hub's word at sign-in wins if it is shorter.", ge=0.05, le=60
        ),
    ] = 5.0
    silent_s: Annotated[
        float,
        Meta(description="A link on which nothing came for this long is given up and dialled again.", ge=0.2, le=300),
    ] = 15.0
    reconnect_max_s: Annotated[
        float,
        Meta(description="Longest wait between two attempts to dial; waits grow and are jittered.", ge=0.1, le=3600),
    ] = 60.0
    reconnect_spread_s: Annotated[
        float,
        Meta(
            description="The first attempt after a lost link comes within this time, at random, so that a fleet does not "
            "return in one moment; on loopback at most one second.",
            ge=0.0,
            le=600,
        ),
    ] = 10.0
    report_s: Annotated[
        float,
        Meta(
            description="How often the agent's counters that changed are sent to the hub, as metrics of the table "
            "`towline-agent`; 0: never.",
            ge=0,
            le=86_400,
        ),
    ] = 60.0
    key_days: Annotated[
        int,
        Meta(
            description="Days after which this device changes its own key, by itself, while it is linked; 0: never.",
            ge=0,
            le=3650,
        ),
    ] = 90
    bundled: Annotated[
        tuple[str, ...], Meta(description="Plugins that ship with Towline and run beside this agent.")
    ] = ("host",)
    shell_user: Annotated[
        str, Meta(description="User that shell commands run as, when the agent is root; empty: the agent's own.")
    ] = ""
    shell_timeout_s: Annotated[
        float, Meta(description="Longest run of a shell command, whatever the operator asks for.", gt=0, le=86_400)
    ] = 3600.0
    shell_concurrent: Annotated[int, Meta(description="Shell commands at once.", ge=1, le=32)] = 8
    allow: AllowSettings = AllowSettings()
    octo: OctoSettings = OctoSettings()
