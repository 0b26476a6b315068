# SPDX-License-Identifier: Apache-2.0
"""Gateway nodes, what they hold, and messages to their clients."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from fastapi import APIRouter, Query, Response

from towline.api import models
from towline.api.auth import ActorDep, HubDep
from towline.api.errors import documented
from towline.errors import InvalidInput

router = APIRouter(prefix="/gateway", tags=["gateway"])

Search = Annotated[str, Query(max_length=1024, description="Part of the name.")]
Limit = Annotated[int, Query(ge=1, le=500)]


@router.get("", responses=documented())
async def gateway(hub: HubDep, actor: ActorDep) -> models.GatewayNodes:
    """The gateway nodes that live, oldest first, with listeners and counters."""
    return models.GatewayNodes(nodes=[models.GatewayNode.of(each) for each in await hub.gateway.nodes(actor)])


@router.get("/channels", response_model=models.GatewayChannels, responses=documented())
async def gateway_channels(hub: HubDep, actor: ActorDep, search: Search = "", limit: Limit = 100) -> Response:
    """Channels with most subscribers. Subscribers are counted over all nodes."""
    return models.answer(models.GatewayChannels.of(await hub.gateway.channels(actor, search, limit)))


@router.get("/topics", response_model=models.GatewayTopics, responses=documented())
async def gateway_topics(hub: HubDep, actor: ActorDep, search: Search = "", limit: Limit = 100) -> Response:
    """Topics, the fullest first."""
    return models.answer(models.GatewayTopics.of(await hub.gateway.topics(actor, search, limit)))


@router.get("/clients", response_model=models.GatewayClients, responses=documented())
async def gateway_clients(
    hub: HubDep,
    actor: ActorDep,
    search: Annotated[str, Query(max_length=64, description="Beginning of the id or of the remote address.")] = "",
    channel: Annotated[str, Query(max_length=1024, description="Only its subscribers.")] = "",
    node: Annotated[int | None, Query(ge=0, le=1023, description="Only clients of this node.")] = None,
    limit: Limit = 100,
    after: Annotated[str, Query(max_length=20, description="`next` of the former page.")] = "",
) -> Response:
    """Clients, newest first. Agents are not among them."""
    found = await hub.gateway.clients(actor, search, channel, node, limit, after)
    return models.answer(models.GatewayClients.of(found))


@router.get("/clients/{client_id}", responses=documented(404, 503))
async def gateway_client(hub: HubDep, actor: ActorDep, client_id: str) -> models.GatewayClientDetails:
    """One client: its context, subscriptions, and how far it is behind."""
    return models.GatewayClientDetails.of(await hub.gateway.client(actor, client_id))


@router.post("/clients/{client_id}/send", responses=documented(404, 503))
async def gateway_send(hub: HubDep, actor: ActorDep, client_id: str, body: models.GatewaySend) -> models.GatewaySent:
    """Send one message to one client, on whatever node it is."""
    sent = await hub.gateway.send(actor, client_id, _bytes(body.data, body.kind), binary=body.kind == "binary")
    return models.GatewaySent.of(sent)


@router.post("/clients/{client_id}/disconnect", status_code=204, responses=documented(404, 503))
async def gateway_disconnect(hub: HubDep, actor: ActorDep, client_id: str, body: models.GatewayDisconnect) -> None:
    """Close a client's connection, after what is queued for it."""
    await hub.gateway.disconnect(actor, client_id, body.code, body.reason)


@router.post("/publish", responses=documented(503))
async def gateway_publish(hub: HubDep, actor: ActorDep, body: models.GatewayPublish) -> models.GatewaySent:
    """Send one message to every subscriber of a channel, on every node."""
    data = _bytes(body.data, body.kind)
    return models.GatewaySent.of(await hub.gateway.publish(actor, body.channel, data, binary=body.kind == "binary"))


def _bytes(data: str, kind: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True) if kind == "binary" else data.encode()
    except (binascii.Error, ValueError):
        wanted = "base64" if kind == "binary" else "Unicode text"
        raise InvalidInput("gateway.data", f"the data is not {wanted}", where="$.data") from None
