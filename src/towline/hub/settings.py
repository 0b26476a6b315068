# SPDX-License-Identifier: Apache-2.0
"""What can be set about a hub."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class HubSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the section ``hub``."""

    link_url: Annotated[
        str,
        Meta(
            description="Where agents reach this installation, as it is written into enrolment lines, "
            "for example wss://towline.example.org/link/v1.",
        ),
    ] = "ws://127.0.0.1:6790/link/v1"
    ca_fingerprint: Annotated[
        str,
        Meta(
            description="SHA-256 fingerprint (hex) of the certificate authority that agents are to trust for "
            "link_url; empty when the system's own authorities know it."
        ),
    ] = ""
    enrolment_seconds: Annotated[
        int, Meta(description="How long an enrolment line can be redeemed, in seconds.", ge=60, le=86_400)
    ] = 900
    session_hours: Annotated[
        int, Meta(description="How long a sign-in lasts, in hours (10 as the published API says).", ge=1, le=720)
    ] = 10
    token_days: Annotated[
        int, Meta(description="Lifetime of an API token when none is given, in days.", ge=1, le=3650)
    ] = 365
    password_min_length: Annotated[int, Meta(description="Fewest characters of a password.", ge=8, le=128)] = 10
    login_attempts: Annotated[
        int,
        Meta(description="Failed sign-ins for one name from one address before further ones are refused.", ge=1),
    ] = 5
    login_window_seconds: Annotated[
        int, Meta(description="How long failed sign-ins are remembered, in seconds.", ge=10)
    ] = 300
    command_expiry_seconds: Annotated[
        int,
        Meta(
            description="How long a command waits for its device when the caller does not say, in seconds.",
            ge=1,
            le=30 * 86_400,
        ),
    ] = 900
    exec_timeout_seconds: Annotated[
        int, Meta(description="Longest run of a remote shell command, in seconds.", ge=1, le=86_400)
    ] = 3600
    exec_output_bytes: Annotated[
        int,
        Meta(
            description="Most bytes kept of each of a remote shell command's two outputs; it ends when there is more.",
            ge=1024,
            le=64 * 1024 * 1024,
        ),
    ] = 1024 * 1024
    verifying_seconds: Annotated[
        float,
        Meta(
            description="After a start of the only hub: how long devices may take to be seen again before they are "
            "shown offline, in seconds.",
            gt=0,
            le=15,
        ),
    ] = 8.0
    records_days: Annotated[
        int, Meta(description="How long metrics and events are kept, in days.", ge=1, le=36_500)
    ] = 90
    commands_days: Annotated[
        int, Meta(description="How long finished commands are kept, in days.", ge=30, le=36_500)
    ] = 90
