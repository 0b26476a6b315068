# SPDX-License-Identifier: Apache-2.0
"""Who asks: every use case of the hub takes an :class:`Actor` first."""

from __future__ import annotations

from typing import Literal

import msgspec

ActorKind = Literal["user", "token", "system"]


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody (or something) that asks the hub for something.

    ``kind`` is ``user`` for a signed-in session, ``token`` for an API token, ``system`` for the process itself
    (bootstrap, sweeps). ``jti`` names the session or token; ``expires_us`` is when it ends, 0 for never.
    """

    user_id: str
    name: str
    kind: ActorKind
    workgroup: str
    privileges: frozenset[str]
    remote: str = ""
    jti: str = ""
    expires_us: int = 0

    @classmethod
    def system(cls, workgroup: str, name: str = "system") -> Actor:
        """The process itself, with every privilege in ``workgroup``."""
        return cls(user_id="", name=name, kind="system", workgroup=workgroup, privileges=frozenset({"owner"}))
