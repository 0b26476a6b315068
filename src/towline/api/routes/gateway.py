# SPDX-License-Identifier: Apache-2.0
"""Gateway nodes."""

from __future__ import annotations

from fastapi import APIRouter, Request

from towline.api import models
from towline.api.auth import ActorDep
from towline.api.errors import documented
from towline.bus.base import Endpoint, Member
from towline.hub.privileges import check

router = APIRouter(prefix="/gateway", tags=["gateway"])


@router.get("", responses=documented())
async def gateway(request: Request, actor: ActorDep) -> models.GatewayNodes:
    """The gateway nodes that live, oldest first."""
    check(actor, "gateway.list")
    endpoint: Endpoint = request.app.state.endpoint
    return models.GatewayNodes(nodes=[_node(member) for member in endpoint.members("node")])


def _node(member: Member) -> models.GatewayNode:
    info = member.info
    return models.GatewayNode(
        id=member.address,
        number=member.number,
        version=info.get("version"),
        api_server=info.get("api_server"),
        started_at=models.stamp(member.started_us),
        clients=_count(info.get("clients")),
        links=_count(info.get("links")),
        channels=_count(info.get("channels")),
    )


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
