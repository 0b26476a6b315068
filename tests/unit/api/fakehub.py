# SPDX-License-Identifier: Apache-2.0
"""A hub of one workgroup in memory, with the real hub's methods: what the doors do can be tested to the letter."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any, cast

from towline.bus.base import Member
from towline.errors import Conflict, InvalidInput, NotFound, Refused, TowlineError, Unavailable
from towline.hub import gateway, views
from towline.hub.actor import Actor
from towline.hub.hub import Hub
from towline.hub.privileges import check
from towline.protocols.connmix import inspect as wire

WORKGROUP = "acme"
DEVICE = "7b0c2a54-1111-4222-8333-9a0b1c2d3e4f"
OFFLINE = "7b0c2a54-2222-4222-8333-9a0b1c2d3e4f"
COOKIE = "towline_session_00c0ffee0001"
NOW_US = 1_795_230_245_678_000
TOKENS = {
    "owner-token": frozenset({"owner"}),
    "operator-token": frozenset({"read", "control_devices"}),
    "reader-token": frozenset({"read"}),
}


class FakeExecution:
    def __init__(self, correlation_id: str) -> None:
        self.correlation_id = correlation_id
        self.future: asyncio.Future[views.ExecResult] = asyncio.get_running_loop().create_future()

    async def result(self) -> views.ExecResult:
        return await asyncio.shield(self.future)


class FakeHub:
    """Most families are this one object; ``calls`` keeps what was asked."""

    def __init__(self) -> None:
        self.identity = SimpleNamespace(hub_id="01931b2c-0000-7000-8000-00c0ffee0001")
        self.devices = self.plugins = self.records = self.execs = self
        self.commands = FakeCommands(self)
        self.enrolments = FakeEnrolments(self)
        self.users = FakeUsers()
        self.audit = FakeAudit()
        self.gateway = FakeGateway(self)
        self.calls: list[tuple[Any, ...]] = []
        self.executions: list[FakeExecution] = []
        self.answer_at_once = True
        self.command = command()
        self.fail: Exception | None = None

    def counters(self) -> dict[str, int]:
        return {"links.opened": 3, "links.sessions": 2, "store.commits": 5}

    def close(self) -> None:
        for execution in self.executions:
            if not execution.future.done():
                lost = views.ExecResult(stdout="", stderr="", return_code=-1, reason="hub_closing", message="it closes")
                execution.future.set_result(lost)

    def as_hub(self) -> Hub:
        return cast(Hub, self)

    def asked(self, use_case: str, actor: Actor, *arguments: Any) -> None:
        check(actor, use_case)
        self.calls.append((use_case, *arguments))
        if self.fail is not None:
            raise self.fail

    def _known(self, device_id: str) -> None:
        if device_id not in (DEVICE, OFFLINE):
            raise NotFound("device.unknown", f"there is no device {device_id}")

    async def list(self, actor: Actor, *arguments: Any) -> Any:
        self.asked("devices.list", actor, *arguments)
        counts = views.DeviceCounts(total=2, online=1)
        return views.DevicePage(items=[device(DEVICE, "online"), device(OFFLINE, "offline")], next=None, counts=counts)

    async def get(self, actor: Actor, device_id: str) -> views.DeviceView:
        self.asked("devices.get", actor, device_id)
        self._known(device_id)
        return device(device_id, "online" if device_id == DEVICE else "offline")

    async def rename(self, actor: Actor, device_id: str, name: str) -> views.DeviceView:
        self.asked("devices.rename", actor, device_id, name)
        self._known(device_id)
        return device(device_id, "online", name)

    async def delete(self, actor: Actor, device_id: str) -> None:
        self.asked("devices.delete", actor, device_id)
        self._known(device_id)

    async def of_device(self, actor: Actor, device_id: str) -> Any:
        self.asked("plugins.of_device", actor, device_id)
        self._known(device_id)
        return [plugin()]

    async def list_credentials(self, actor: Actor) -> Any:
        self.asked("plugins.list_credentials", actor)
        return [credential("")]

    async def create_credential(self, actor: Actor, *arguments: Any) -> views.CredentialView:
        self.asked("plugins.create_credential", actor, *arguments)
        if arguments[0] == "taken":
            raise Conflict("plugin.exists", "the appGUID is taken", where="$.app_guid")
        return credential("k" * 40)

    async def get_credential(self, actor: Actor, app_guid: str) -> views.CredentialView:
        self.asked("plugins.get_credential", actor, app_guid)
        return credential("k" * 40)

    async def revoke_credential(self, actor: Actor, app_guid: str) -> None:
        self.asked("plugins.revoke_credential", actor, app_guid)

    async def states(self, actor: Actor, device_id: str) -> Any:
        self.asked("records.states", actor, device_id)
        self._known(device_id)
        return [
            views.StateView(
                app_guid="g", table="hello", source="main", name="mood", value='{"a":[1,null]}', time_us=NOW_US
            )
        ]

    async def series(self, actor: Actor, device_id: str, kind: str, **arguments: Any) -> views.SeriesPage:
        self.asked("records.series", actor, device_id, kind, arguments)
        self._known(device_id)
        points = [(NOW_US, "12.50"), (NOW_US + 2_000_000, "13")]
        found = [views.Series(table="host", source="cpu", field="used", points=points)]
        return views.SeriesPage(series=found, truncated=False, from_us=arguments["from_us"], to_us=arguments["to_us"])

    async def events(self, actor: Actor, *arguments: Any) -> Any:
        self.asked("records.events", actor, *arguments)
        event = views.EventView(
            message_id=7, table="hello", source="main", name="greeted", value="Buzz", time_us=NOW_US, stored_us=NOW_US
        )
        return views.Page(items=[event], next="7")

    async def run(self, actor: Actor, device_id: str, cmd: str, timeout_s: float) -> FakeExecution:
        self.asked("execs.run", actor, device_id, cmd, timeout_s)
        self._known(device_id)
        if device_id == OFFLINE:
            raise Unavailable("device.offline", "the device is offline")
        execution = FakeExecution(f"c-{len(self.executions)}")
        self.executions.append(execution)
        if self.answer_at_once:
            execution.future.set_result(views.ExecResult(stdout=f"{cmd}\n", stderr="", return_code=0))
        return execution


class FakeEnrolments:
    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub

    async def list(self, actor: Actor) -> Any:
        self._hub.asked("enrolments.list", actor)
        return [enrolment()]

    async def create(self, actor: Actor, name: str | None, ttl_s: int | None) -> views.EnrolmentView:
        self._hub.asked("enrolments.create", actor, name, ttl_s)
        return enrolment(name, "ws://127.0.0.1:6790/link/v1#abc.def")

    async def revoke(self, actor: Actor, enrolment_id: str) -> None:
        self._hub.asked("enrolments.revoke", actor, enrolment_id)
        if enrolment_id != "e-1":
            raise NotFound("enrolment.unknown", "there is no such line")


class FakeCommands:
    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub

    async def list(self, actor: Actor, *arguments: Any) -> Any:
        self._hub.asked("commands.list", actor, *arguments)
        return views.Page(items=[self._hub.command], next="more")

    async def get(self, actor: Actor, command_id: str) -> views.CommandView:
        self._hub.asked("commands.get", actor, command_id)
        if command_id != self._hub.command.id:
            raise NotFound("command.unknown", "there is no such command")
        return self._hub.command

    async def submit(self, actor: Actor, *arguments: Any) -> views.CommandView:
        self._hub.asked("commands.submit", actor, *arguments)
        if arguments[2] == "nowhere":
            raise InvalidInput("command.undeclared", "no such module", where="$.module", hint="it has main")
        return self._hub.command

    async def cancel(self, actor: Actor, command_id: str) -> views.CommandView:
        self._hub.asked("commands.cancel", actor, command_id)
        raise Conflict("command.sent", "it has been sent")


class FakeUsers:
    def __init__(self) -> None:
        self.tokens = FakeTokens()
        self.expires_us = 0
        self.ended: set[str] = set()
        self.verified: list[tuple[str, str]] = []

    async def verify(self, token: str, ip: str = "") -> Actor:
        self.verified.append((token, ip))
        if token not in TOKENS:
            raise Refused("token.invalid", "the token is not valid")
        if token in self.ended:
            raise Refused("token.revoked", "the token has ended")
        return Actor(
            user_id="u-1",
            name="ada",
            kind="token",
            workgroup=WORKGROUP,
            privileges=TOKENS[token],
            remote=ip,
            jti=token,
            expires_us=self.expires_us,
        )

    async def login(self, name: str, password: str, ip: str) -> views.SessionView:
        if password == "too often":
            raise Unavailable("login.throttled", "too many failed sign-ins", hint="try again in 42 seconds")
        if (name, password) != ("ada", "right"):
            raise Refused("login.wrong", "name or password is wrong")
        return session("owner-token")

    async def session(self, actor: Actor) -> views.SessionView:
        return session("")

    async def logout(self, actor: Actor) -> None:
        self.ended.add(actor.jti)

    async def change_password(self, actor: Actor, old: str, new: str) -> None:
        if old != "right":
            raise Refused("login.wrong", "the old password is wrong")

    async def list(self, actor: Actor) -> Any:
        check(actor, "users.list")
        return [user()]

    async def create(
        self, actor: Actor, name: str, password: str, privileges: Collection[str], display_name: str
    ) -> views.UserView:
        check(actor, "users.create")
        if name == "ada":
            raise Conflict("user.exists", "the name is taken", where="$.name")
        return user(name)

    async def update(self, actor: Actor, user_id: str, **changes: Any) -> views.UserView:
        check(actor, "users.update")
        return user(display_name=changes["display_name"] or "Ada")

    async def set_password(self, actor: Actor, user_id: str, password: str) -> None:
        check(actor, "users.set_password")

    async def delete(self, actor: Actor, user_id: str) -> None:
        check(actor, "users.delete")
        raise Conflict("user.last_owner", "somebody has to own the workgroup")


class FakeTokens:
    async def list(self, actor: Actor) -> Any:
        return [token()]

    async def create(
        self, actor: Actor, name: str, privileges: Collection[str], ttl_days: int | None
    ) -> views.NewToken:
        return views.NewToken(token="secret", info=token(name))

    async def revoke(self, actor: Actor, jti: str) -> None:
        if jti != "t-1":
            raise NotFound("token.unknown", "there is no such token")


class FakeGateway:
    """One node that answers and one that does not; one client."""

    CLIENT = "13711234567890"

    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub
        row = wire.Client(
            id=self.CLIENT, listener=0, remote_addr="198.51.100.7:5000", since_us=NOW_US, channels=2, waiting=0
        )
        self.row = gateway.ClientView(3, row)

    def _known(self, client_id: str) -> None:
        if client_id != self.CLIENT:
            raise NotFound("client.unknown", f"client {client_id!r} is not connected")

    async def nodes(self, actor: Actor) -> list[gateway.GatewayNode]:
        self._hub.asked("gateway.list", actor)
        listener = wire.Listener(number=0, listen="127.0.0.1:6790", entry="chat.py", clients=1, closed={"normal": 2})
        status = wire.Status(number=3, clients=1, links=4, counters={"frames_out": 9}, listeners=[listener])
        info = {"version": "9", "api_server": "127.0.0.1:6789", "clients": "127.0.0.1:6790"}
        return [
            gateway.GatewayNode(Member("node-a", "node", 3, NOW_US, info), status),
            gateway.GatewayNode(Member("node-b", "node", 4, NOW_US, {}), None),
        ]

    async def channels(self, actor: Actor, search: str, limit: int) -> gateway.ChannelList:
        self._hub.asked("gateway.channels", actor, search, limit)
        return gateway.ChannelList([gateway.ChannelView("room", 5, 2)], True, [4])

    async def topics(self, actor: Actor, search: str, limit: int) -> gateway.TopicList:
        self._hub.asked("gateway.topics", actor, search, limit)
        return gateway.TopicList([gateway.TopicView("orders", 7, 1, 2, False, 2)], False, [])

    async def clients(self, actor: Actor, *arguments: Any) -> gateway.ClientList:
        self._hub.asked("gateway.clients", actor, *arguments)
        return gateway.ClientList([self.row], self.CLIENT, [])

    async def client(self, actor: Actor, client_id: str) -> gateway.ClientDetails:
        self._hub.asked("gateway.client", actor, client_id)
        self._known(client_id)
        details = wire.ClientDetails(
            client=self.row.client,
            listen="127.0.0.1:6790",
            entry="chat.py",
            protocol="websocket",
            path="/",
            user_agent="tester",
            context=b'{"name":"ann"}',
            omitted=["long"],
            channels=["room"],
            channel_count=2,
            behind=False,
        )
        return gateway.ClientDetails(3, details)

    async def send(self, actor: Actor, client_id: str, data: bytes, *, binary: bool) -> wire.Sent:
        self._hub.asked("gateway.send", actor, client_id, data, binary)
        self._known(client_id)
        return wire.Sent(sent=1)

    async def publish(self, actor: Actor, channel: str, data: bytes, *, binary: bool) -> wire.Sent:
        self._hub.asked("gateway.publish", actor, channel, data, binary)
        return wire.Sent(sent=5, failed=1)

    async def disconnect(self, actor: Actor, client_id: str, code: int, reason: str) -> None:
        self._hub.asked("gateway.disconnect", actor, client_id, code, reason)
        self._known(client_id)


class FakeAudit:
    async def list(self, actor: Actor, limit: int, before: int | None) -> Any:
        check(actor, "audit.list")
        entry = views.AuditEntry(
            id=3,
            time_us=NOW_US,
            user="ada",
            action="device.rename",
            entity="device",
            entity_id=DEVICE,
            detail='{"name":"x"}',
            address="127.0.0.1",
        )
        return views.Page(items=[entry], next=None)


def device(device_id: str, state: Any, name: str = "boat") -> views.DeviceView:
    return views.DeviceView(
        id=device_id,
        name=name,
        cn=f"CN={device_id},O={WORKGROUP}",
        workgroup=WORKGROUP,
        group="default",
        created_us=NOW_US,
        presence=views.PresenceView(state=state, since_us=NOW_US, cause="silent", cause_text="the link was silent"),
        agent=views.AgentView(version="0.1.0", platform="linux", arch="x86_64", hostname="boat-1", os="Debian 12"),
        summary=views.SummaryView(cpu=12.5, memory=None),
    )


def plugin() -> views.PluginView:
    declaration = (
        '{"appName":"hello","modules":[{"moduleName":"main","commands":[{"name":"say_hello","params":['
        '{"name":"person","displayType":"string"},{"name":"agree","displayType":"tos"}]}]}]}'
    )
    return views.PluginView(
        app_guid="a8e873a1-e5df-43a2-928a-745ff9c94dfb",
        app_name="hello",
        display_name="Hello",
        version="1.0.0",
        type="ib",
        online=True,
        since_us=NOW_US,
        cause="connected",
        declared_us=NOW_US,
        declaration=declaration,
    )


def command(**changes: Any) -> views.CommandView:
    content: dict[str, Any] = {
        "id": "ab" * 20,
        "device_id": DEVICE,
        "app_guid": "a8e873a1-e5df-43a2-928a-745ff9c94dfb",
        "module": "main",
        "name": "say_hello",
        "params": {"person": "Buzz"},
        "state": "queued",
        "final": False,
        "created_us": NOW_US,
        "expires_us": NOW_US + 60_000_000,
        "user": "ada",
        "steps": [views.CommandStepView(state="queued", time_us=NOW_US)],
    }
    return views.CommandView(**{**content, **changes})


def credential(key: str) -> views.CredentialView:
    return views.CredentialView(
        app_guid="a8e873a1-e5df-43a2-928a-745ff9c94dfb",
        name="hello",
        platform="linux",
        architecture="x86_64",
        created_us=NOW_US,
        access_key=key,
    )


def enrolment(name: str | None = None, line: str = "") -> views.EnrolmentView:
    return views.EnrolmentView(
        id="e-1", name=name, created_us=NOW_US, expires_us=NOW_US + 900_000_000, state="open", line=line, token=""
    )


def user(name: str = "ada", display_name: str = "Ada") -> views.UserView:
    return views.UserView(id="u-1", name=name, display_name=display_name, privileges=["owner"], created_us=NOW_US)


def session(found: str) -> views.SessionView:
    return views.SessionView(
        user_id="u-1",
        user_name="ada",
        display_name="Ada",
        workgroup=WORKGROUP,
        workgroup_name="Acme",
        privileges=["owner"],
        expires_us=NOW_US + 36_000_000_000,
        jti="j-1",
        token=found,
    )


def token(name: str = "ci") -> views.TokenView:
    return views.TokenView(
        jti="t-1",
        name=name,
        user_id="u-1",
        user_name="ada",
        privileges=["read"],
        created_us=NOW_US,
        expires_us=NOW_US + 86_400_000_000,
    )


__all__ = ["DEVICE", "OFFLINE", "WORKGROUP", "FakeHub", "TowlineError", "command"]
