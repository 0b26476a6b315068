# SPDX-License-Identifier: Apache-2.0
"""The one table of privileges, for REST, socket.io, portal and command line.

A use case is named ``family.method``; the hub's method checks it itself, so no door can forget to.
"""

from __future__ import annotations

from typing import Final, Literal

from towline.errors import InvalidInput, Refused
from towline.hub.actor import Actor

Privilege = Literal[
    "read",
    "manage_searches",
    "manage_devices",
    "control_devices",
    "manage_gateway",
    "manage_access",
    "read_audit",
    "owner",
]

PRIVILEGES: Final[dict[str, str]] = {
    "read": "See devices, their plugins, values, events and commands; gateway nodes, their channels, topics and clients.",
    "manage_searches": "Keep and share searches.",
    "manage_devices": "Enrol, rename and delete devices; make, read and revoke plugin credentials.",
    "control_devices": "Run plugin commands and the remote shell.",
    "manage_gateway": "See what is known of a gateway client, send and publish to clients, disconnect them.",
    "manage_access": "Make, change and delete users and the API tokens of others.",
    "read_audit": "Read the audit log.",
    "owner": "Everything, and granting this privilege to others.",
}
"""Every privilege and what it allows, in the order in which they are shown."""

TABLE: Final[dict[str, Privilege | None]] = {
    "devices.list": "read",
    "devices.get": "read",
    "devices.rename": "manage_devices",
    "devices.delete": "manage_devices",
    "enrolments.create": "manage_devices",
    "enrolments.list": "manage_devices",
    "enrolments.revoke": "manage_devices",
    "plugins.of_device": "read",
    "plugins.list_credentials": "read",
    "plugins.get_credential": "manage_devices",
    "plugins.create_credential": "manage_devices",
    "plugins.assign": "manage_devices",
    "plugins.revoke_credential": "manage_devices",
    "records.states": "read",
    "records.series": "read",
    "records.events": "read",
    "commands.submit": "control_devices",
    "commands.cancel": "control_devices",
    "commands.get": "read",
    "commands.list": "read",
    "execs.run": "control_devices",
    "users.session": None,
    "users.logout": None,
    "users.change_password": None,
    "users.list": "manage_access",
    "users.create": "manage_access",
    "users.update": "manage_access",
    "users.set_password": "manage_access",
    "users.delete": "manage_access",
    "tokens.create": None,
    "tokens.create_by_token": "manage_access",
    "tokens.list": None,
    "tokens.revoke": None,
    "tokens.list_all": "manage_access",
    "tokens.revoke_any": "manage_access",
    "audit.list": "read_audit",
    "gateway.list": "read",
    "gateway.channels": "read",
    "gateway.topics": "read",
    "gateway.clients": "read",
    "gateway.client": "manage_gateway",
    "gateway.send": "manage_gateway",
    "gateway.publish": "manage_gateway",
    "gateway.disconnect": "manage_gateway",
    "metrics.read": "read",
}
"""Use case → privilege it needs; None: being signed in is enough."""


def allows(actor: Actor, privilege: str) -> bool:
    """Whether ``actor`` has ``privilege``; an owner has all."""
    return privilege in actor.privileges or "owner" in actor.privileges


def permitted(actor: Actor, use_case: str) -> bool:
    """Whether ``actor`` may call ``use_case`` of :data:`TABLE`."""
    needed = TABLE[use_case]
    return needed is None or allows(actor, needed)


def check(actor: Actor, use_case: str) -> None:
    """Refused ``privilege.missing`` when ``actor`` may not call ``use_case``."""
    needed = TABLE[use_case]
    if needed is None or allows(actor, needed):
        return
    # A token has its own set: its user may well have what it lacks.
    token = actor.kind == "token"
    raise Refused(
        "privilege.missing",
        f"{use_case} needs the privilege {needed}, which {_who(actor)} does not have",
        hint="use a token that has it" if token else "someone with manage_access can grant it",
    )


def known(privileges: list[str] | frozenset[str], where: str = "$.privileges") -> frozenset[str]:
    """The set, when every name in it is a privilege; InvalidInput ``privilege.unknown`` names the first that is not."""
    for name in privileges:
        if name not in PRIVILEGES:
            raise InvalidInput(
                "privilege.unknown", f"there is no privilege {name!r}; they are {', '.join(PRIVILEGES)}", where=where
            )
    return frozenset(privileges)


def grantable(actor: Actor, privileges: frozenset[str]) -> None:
    """Refused ``privilege.not_yours`` when ``actor`` would give away more than they have."""
    for name in sorted(privileges):
        if not allows(actor, name):
            raise Refused("privilege.not_yours", f"{_who(actor)} cannot grant {name} without having it")


def _who(actor: Actor) -> str:
    return "this token" if actor.kind == "token" else actor.name
