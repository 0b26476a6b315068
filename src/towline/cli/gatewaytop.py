# SPDX-License-Identifier: Apache-2.0
"""``towline gateway top``: nodes, listeners, channels and topics, live in the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from towline.cli.output import Data, Json

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

Snapshot = dict[str, Any]
"""``nodes``, ``channels`` and ``topics`` as REST gives them; ``rates`` by node id."""

_RATES = (("messages_in", "in_per_s"), ("frames_out", "out_per_s"), ("accepted", "accepted_per_s"))


def top(
    api: Annotated[
        str | None,
        typer.Option(
            "--api",
            help="Read the nodes that this push API lists instead of the portal; user and password may stand in the URL.",
        ),
    ] = None,
    interval: Annotated[float, typer.Option("--interval", "-i", help="Seconds between looks.", min=0.2, max=60)] = 2.0,
    once: Annotated[
        bool,
        typer.Option("--once", help="Print once and end; as it does without a terminal."),
    ] = False,
    rows: Annotated[int, typer.Option("--rows", "-n", help="Channels and topics shown.", min=1, max=500)] = 10,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show gateway nodes live: listeners, channels, topics, rates. Ctrl-C ends it.

    It asks the portal's REST, like other commands. A gateway that runs without a hub has none: then --api reads /v1/nodes and
    /metrics of its push API, which name no channels and topics. With --json each look is one line.
    """
    from towline.cli import http

    if api is not None:
        from towline.cli.pushnodes import PushNodes

        with PushNodes(api) as nodes:
            _watch(nodes.snapshot, interval, once=once, rows=rows, as_json=as_json)
        return
    with http.client(data, timeout_s=10.0) as client:

        def look() -> Snapshot:
            return {
                "nodes": client.get("/gateway")["nodes"],
                "channels": client.get("/gateway/channels", limit=rows)["channels"],
                "topics": client.get("/gateway/topics", limit=rows)["topics"],
            }

        _watch(look, interval, once=once, rows=rows, as_json=as_json)


def _watch(look: Callable[[], Snapshot], interval: float, *, once: bool, rows: int, as_json: bool) -> None:
    import json

    from rich.console import Console

    before, at = look(), time.monotonic()
    terminal = Console().is_terminal
    try:
        if once or as_json or not terminal:
            while True:
                time.sleep(interval)
                now, then = look(), time.monotonic()
                now["rates"] = rates(before, now, then - at)
                if as_json:
                    typer.echo(json.dumps(now))
                else:
                    Console(width=None if terminal else 160, no_color=None if terminal else True).print(draw(now, rows))
                if once or not as_json:
                    return
                before, at = now, then
        _live(look, before, at, interval, rows)
    except KeyboardInterrupt:
        raise typer.Exit from None


def _live(look: Callable[[], Snapshot], before: Snapshot, at: float, interval: float, rows: int) -> None:
    from rich.live import Live

    from towline.errors import TowlineError, Unavailable

    before["rates"] = {}
    with Live(draw(before, rows), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            try:
                now, then = look(), time.monotonic()
            except Unavailable as error:
                live.update(draw(before, rows, problem=str(error)), refresh=True)
                continue
            except TowlineError:
                live.stop()
                raise
            now["rates"] = rates(before, now, then - at)
            live.update(draw(now, rows), refresh=True)
            before, at = now, then


def rates(before: Snapshot, now: Snapshot, seconds: float) -> dict[str, dict[str, float]]:
    """Events a second of each node, by its id; a node that is new, or began anew, has none."""
    known = {node["id"]: node for node in before["nodes"]}
    found: dict[str, dict[str, float]] = {}
    for node in now["nodes"]:
        earlier = known.get(node["id"])
        if earlier is None or seconds <= 0:
            continue
        each = {}
        for counter, name in _RATES:
            a, b = earlier["counters"].get(counter), node["counters"].get(counter)
            if a is not None and b is not None and b >= a:
                each[name] = round((b - a) / seconds, 1)
        found[node["id"]] = each
    return found


def draw(shown: Snapshot, rows: int, problem: str = "") -> RenderableType:
    """The whole screen."""
    from rich.console import Group
    from rich.text import Text

    nodes = shown["nodes"]
    parts: list[RenderableType] = []
    clients = sum(node["clients"] or 0 for node in nodes)
    each = [shown["rates"].get(node["id"], {}) for node in nodes]
    total = f"{len(nodes)} node{'' if len(nodes) == 1 else 's'}, {clients:,} clients"
    if any(each):
        total += f", {_sum(each, 'in_per_s')}/s in, {_sum(each, 'out_per_s')}/s out"
    head = Text("Towline gateway  ", style="bold")
    head.append(total, style="default")
    parts.append(head)
    if problem:
        parts.append(Text(f"not renewed: {problem}", style="yellow"))
    if not nodes:
        parts += [Text(), Text("no gateway node is running; start one with: towline gateway --bus nats://HOST:4222")]
        return Group(*parts)
    parts += [Text(), _nodes(shown), Text(), _listeners(nodes)]
    if shown["channels"] is None:
        parts += [Text(), Text("names of channels and topics are known to the portal's REST only", style="dim")]
        return Group(*parts)
    if shown["channels"]:
        table = _table("CHANNEL", "SUBSCRIBERS", "NODES")
        for one in shown["channels"][:rows]:
            table.add_row(_name(one["name"]), f"{one['subscribers']:,}", str(one["nodes"]))
        parts += [Text(), table]
    if shown["topics"]:
        table = _table("TOPIC", "WAITING", "CONSUMERS", "UNDER WAY")
        for one in shown["topics"][:rows]:
            name = _name(one["name"])
            if one["durable"]:
                name.append(" durable", style="dim")
            alone = one["depth"] and not one["consumers"]
            depth = Text(f"{one['depth']:,}", style="yellow" if alone else "")
            table.add_row(name, depth, str(one["consumers"]), str(one["away"]))
        parts += [Text(), table]
    return Group(*parts)


def _nodes(shown: Snapshot) -> Table:
    from rich.text import Text

    table = _table("NODE", "PUSH API", "CLIENTS", "AGENTS", "CHANNELS", "QUEUED", "IN/S", "OUT/S", "LAG MS", "MEMORY")
    for node in shown["nodes"]:
        each = shown["rates"].get(node["id"], {})
        name = Text(str(node["number"]) if node["number"] >= 0 else "-")
        if node["clients"] is None:
            name.append(" no answer", style="red")
        if node.get("draining"):
            name.append(" draining", style="yellow")
        lag = node["loop_lag_ms"]
        memory = node["memory_bytes"]
        table.add_row(
            name,
            Text(node["api_server"] or "-"),
            *(_count(node[key]) for key in ("clients", "links", "channels", "queued")),
            _rate(each.get("in_per_s")),
            _rate(each.get("out_per_s")),
            Text("-" if lag is None else f"{lag:.0f}", style="yellow" if lag is not None and lag > 50 else ""),
            "-" if memory is None else f"{memory / 2**20:.0f} MiB",
        )
    return table


def _listeners(nodes: list[Any]) -> Table:
    table = _table("LISTENER", "NODE", "ENTRY", "CLIENTS", "ACCEPTED", "MESSAGES", "ERRORS", "REFUSED")
    for node in nodes:
        for one in node["listeners"]:
            table.add_row(
                _name(one["listen"] + (one["path"] if one["path"] != "/" else "")),
                str(node["number"]),
                _name(one["entry"] or "agents only"),
                _count(one["clients"]),
                _count(one["accepted"]),
                _count(one["messages"]),
                _count(one["entry_errors"]),
                _count(sum(one["refused"].values())),
            )
    return table


def _table(first: str, *others: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(first, no_wrap=True, overflow="ellipsis")
    for name in others:
        table.add_column(name, justify="left" if name in ("PUSH API", "ENTRY", "NODE") else "right", no_wrap=True)
    return table


def _name(text: str) -> Any:
    from rich.text import Text

    # What comes from clients must not steer the terminal.
    plain = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return Text(plain if len(plain) <= 60 else plain[:59] + "…")


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _sum(each: list[dict[str, float]], name: str) -> str:
    return f"{sum(one.get(name, 0.0) for one in each):,.1f}"
