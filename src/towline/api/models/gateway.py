# SPDX-License-Identifier: Apache-2.0
"""Gateway nodes and what they hold."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from towline.api.models.base import Body, Json, Timestamp, json_value, stamp
from towline.hub import gateway as hub
from towline.protocols.connmix import inspect as wire

_SILENT = "Numbers of nodes that did not answer within a second; what they hold is missing."


class GatewayListener(BaseModel):
    number: int
    listen: str
    path: str
    protocol: str = Field(examples=["websocket"])
    tls: bool
    entry: str = Field(description="Script or built-in; empty for a port that serves agents only.")
    clients: int
    accepted: int
    messages: int
    entry_errors: int
    refused: dict[str, int] = Field(description="Upgrades refused, by reason.")
    closed: dict[str, int] = Field(description="Clients gone, by cause.")


class GatewayNode(BaseModel):
    """Figures are null for a node that does not tell."""

    id: str
    number: int
    version: str | None
    api_server: str | None
    clients_listen: str | None
    started_at: Timestamp | None
    clients: int | None = None
    links: int | None = Field(default=None, description="Links of agents.")
    channels: int | None = None
    topics: int | None = None
    queued: int | None = Field(default=None, description="Messages that wait in topics.")
    queued_bytes: int | None = None
    consumers: int | None = Field(default=None, description="Sockets that consume topics.")
    behind: int | None = Field(default=None, description="Clients whose socket does not take all.")
    loop_lag_ms: float | None = Field(default=None, description="Worst delay of the event loop in a minute.")
    memory_bytes: int | None = Field(default=None, description="Of the whole process.")
    draining: bool | None = None
    counters: dict[str, int] = Field(description="Since the node started; they only grow: make rates of them.")
    listeners: list[GatewayListener]

    @classmethod
    def of(cls, view: hub.GatewayNode) -> GatewayNode:
        member, status = view.member, view.status
        known: dict[str, Any] = {
            "id": member.address,
            "number": member.number,
            "version": member.info.get("version"),
            "api_server": member.info.get("api_server"),
            "clients_listen": member.info.get("clients"),
            "started_at": stamp(member.started_us),
        }
        if status is None:
            return cls(**known, counters={}, listeners=[])
        figures = {name: getattr(status, name) for name in _FIGURES}
        return cls(
            **known,
            **figures,
            counters=status.counters,
            listeners=[GatewayListener(**_plain(each)) for each in status.listeners],
        )


_FIGURES = (
    "clients", "links", "channels", "topics", "queued", "queued_bytes", "consumers", "behind", "loop_lag_ms",
    "memory_bytes", "draining",
)  # fmt: skip


class GatewayNodes(BaseModel):
    nodes: list[GatewayNode]


class GatewayChannel(BaseModel):
    name: str
    subscribers: int = Field(description="On all nodes that answered.")
    nodes: int = Field(description="Nodes that have a subscriber.")


class GatewayChannels(BaseModel):
    channels: list[GatewayChannel]
    more: bool = Field(description="There are others, with fewer subscribers.")
    silent: list[int] = Field(description=_SILENT)

    @classmethod
    def of(cls, view: hub.ChannelList) -> GatewayChannels:
        return cls(
            channels=[GatewayChannel(**each._asdict()) for each in view.channels], more=view.more, silent=view.silent
        )


class GatewayTopic(BaseModel):
    name: str
    depth: int = Field(description="Messages that wait, on all nodes that answered.")
    consumers: int
    away: int = Field(description="Of those: offered to another node, or not yet acked by a consumer.")
    durable: bool
    nodes: int


class GatewayTopics(BaseModel):
    topics: list[GatewayTopic]
    more: bool
    silent: list[int] = Field(description=_SILENT)

    @classmethod
    def of(cls, view: hub.TopicList) -> GatewayTopics:
        return cls(topics=[GatewayTopic(**each._asdict()) for each in view.topics], more=view.more, silent=view.silent)


class GatewayClient(BaseModel):
    id: str
    node: int = Field(description="Number of its node.")
    listener: int = Field(description="Number of its listener there.")
    remote_addr: str
    since: Timestamp | None
    channels: int
    waiting: int = Field(description="Bytes that its socket has not taken.")

    @classmethod
    def of(cls, view: hub.ClientView) -> GatewayClient:
        return cls(**_client(view.node, view.client))


class GatewayClients(BaseModel):
    clients: list[GatewayClient]
    next: str | None
    silent: list[int] = Field(description=_SILENT)

    @classmethod
    def of(cls, view: hub.ClientList) -> GatewayClients:
        return cls(clients=[GatewayClient.of(each) for each in view.clients], next=view.next, silent=view.silent)


class GatewayClientDetails(BaseModel):
    id: str
    node: int
    listener: int
    listen: str = Field(description="Address of its listener.")
    entry: str
    protocol: str
    remote_addr: str
    since: Timestamp | None
    path: str
    user_agent: str
    context: Json = Field(description="What its entry and back ends keep about it.")
    omitted: list[str] = Field(description="Keys of the context that do not fit here, or cannot be said in JSON.")
    channels: list[str]
    channel_count: int
    waiting: int
    behind: bool

    @classmethod
    def of(cls, view: hub.ClientDetails) -> GatewayClientDetails:
        found = view.details
        return cls(
            **{**_client(view.node, found.client), "channels": found.channels},
            listen=found.listen,
            entry=found.entry,
            protocol=found.protocol,
            path=found.path,
            user_agent=found.user_agent,
            context=json_value(found.context.decode()),
            omitted=found.omitted,
            channel_count=found.channel_count,
            behind=found.behind,
        )


class _Message(Body):
    data: str = Field(description="The text; base64 of the bytes when `kind` is `binary`.")
    kind: Literal["text", "binary"] = "text"


class GatewayPublish(_Message):
    channel: Annotated[str, Field(min_length=1, max_length=1024)]


class GatewaySend(_Message):
    pass


class GatewaySent(BaseModel):
    sent: int = Field(description="Clients whose outbox took it.")
    failed: int = Field(description="Clients whose outbox refused it.")
    silent: int = Field(description="Nodes that did not answer in time; they add to neither.")

    @classmethod
    def of(cls, view: wire.Sent) -> GatewaySent:
        return cls(sent=view.sent, failed=view.failed, silent=view.silent)


class GatewayDisconnect(Body):
    code: int = Field(
        default=hub.DISCONNECT,
        description="Close code: 1000, or 3000 to 4999. 3020 lets the client come back, 3520 tells it not to.",
    )
    reason: Annotated[str, Field(max_length=120)] = hub.REASON


def _client(node: int, client: wire.Client) -> dict[str, Any]:
    return {
        "id": client.id,
        "node": node,
        "listener": client.listener,
        "remote_addr": client.remote_addr,
        "since": stamp(client.since_us),
        "channels": client.channels,
        "waiting": client.waiting,
    }


def _plain(listener: wire.Listener) -> dict[str, Any]:
    return {name: getattr(listener, name) for name in listener.__struct_fields__}
