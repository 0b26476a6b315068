# SPDX-License-Identifier: Apache-2.0
"""What can be set about the bus between processes."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from towline.bus.base import BEAT_SECONDS, DEAD_SECONDS
from towline.bus.numbers import LEASE_SECONDS, RENEW_SECONDS, REST_SECONDS


class BusSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the section ``bus``."""

    url: Annotated[
        str,
        Meta(
            description="NATS servers of one cluster, separated by commas: `nats://host:4222` or `tls://host:4222`; "
            "empty: everything is in this process"
        ),
    ] = ""
    realm: Annotated[
        str,
        Meta(
            description="Name of the mesh: members of different realms do not see each other",
            pattern="^[a-z0-9-]{1,32}$",
        ),
    ] = "towline"
    user: Annotated[str, Meta(description="NATS user")] = ""
    password: Annotated[str, Meta(description="NATS password", extra={"secret": True})] = ""
    token: Annotated[str, Meta(description="NATS token, instead of user and password", extra={"secret": True})] = ""
    credentials: Annotated[
        str, Meta(description="NATS credentials file (`.creds`), instead of a password; needs the package nkeys")
    ] = ""
    tls_ca: Annotated[str, Meta(description="File with the CA certificates to trust; empty: the system's")] = ""
    tls_certificate: Annotated[str, Meta(description="File with a client certificate")] = ""
    tls_key: Annotated[str, Meta(description="File with the client certificate's key")] = ""
    allow_plain: Annotated[
        bool,
        Meta(description="Allow a NATS server off loopback without TLS or account, for a network that is trusted"),
    ] = False
    number_replicas: Annotated[
        int, Meta(description="Copies of the node number leases in a NATS cluster (1, 3 or 5)", ge=1, le=5)
    ] = 1


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Intervals in seconds. Not settings: every member of a mesh must agree on them."""

    beat: float = BEAT_SECONDS
    dead: float = DEAD_SECONDS
    settle: float = 0.25
    """How long a newcomer waits for the answers of those who live."""
    lease: float = LEASE_SECONDS
    renew: float = RENEW_SECONDS
    rest: float = REST_SECONDS
    start: float = 10.0
    """How long the first connection may take."""
    backoff: float = 0.1
    backoff_max: float = 2.0
