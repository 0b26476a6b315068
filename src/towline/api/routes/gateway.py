# SPDX-License-Identifier: Apache-2.0
"""Gateway nodes."""

from __future__ import annotations

import asyncio

import msgspec
from fastapi import APIRouter, Request

from towline.api import models
from towline.api.auth import ActorDep
from towline.api.errors import documented
from towline.bus.base import Endpoint, Member
from towline.errors import TowlineError
from towline.hub.privileges import check

router = APIRouter(prefix="/gateway", tags=["gateway"])

STATUS_CALL = b"\x01status"
"""The call that a gateway node answers with its counts as JSON."""

_ANSWER_SECONDS = 1.0


class _Status(msgspec.Struct, frozen=True):
    """What we show of a node's answer."""

    clients: int | None = None
    links: int | None = None
    channels: int | None = None


@router.get("", responses=documented())
async def gateway(request: Request, actor: ActorDep) -> models.GatewayNodes:
    """The gateway nodes that live, oldest first. Counts are null for a node that does not answer within a second."""
    check(actor, "gateway.list")
    endpoint: Endpoint = request.app.state.endpoint
    members = endpoint.members("node")
    told = await asyncio.gather(*(_status(endpoint, member) for member in members))
    return models.GatewayNodes(nodes=[_node(member, status) for member, status in zip(members, told, strict=True)])


async def _status(endpoint: Endpoint, member: Member) -> _Status:
    try:
        answer = await endpoint.call(member.address, STATUS_CALL, _ANSWER_SECONDS)
        return msgspec.json.decode(answer, type=_Status)
    except (TowlineError, msgspec.DecodeError):
        return _Status()


def _node(member: Member, status: _Status) -> models.GatewayNode:
    return models.GatewayNode(
        id=member.address,
        number=member.number,
        version=member.info.get("version"),
        api_server=member.info.get("api_server"),
        started_at=models.stamp(member.started_us),
        clients=status.clients,
        links=status.links,
        channels=status.channels,
    )
