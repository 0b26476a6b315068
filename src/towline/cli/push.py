# SPDX-License-Identifier: Apache-2.0
"""``towline push``: messages to clients, and from them, through a gateway node's push API (port 6789)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from towline.cli.output import Json

app = typer.Typer(help="Push messages to clients of the gateway, and take theirs.", no_args_is_help=True)

Api = Annotated[
    str | None,
    typer.Option(
        "--api",
        help="Push API of any node, with user and password if it wants them; default that of the server on this machine.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Data directory of a server on this machine, to find it; default ./towline-data."),
]
Binary = Annotated[bool, typer.Option("--binary", help="MESSAGE is base64; it goes out as a binary frame.")]
Message = Annotated[str, typer.Argument(help="The message; - reads it from standard input.")]

DEFAULT_API = "http://127.0.0.1:6789"


@app.command()
def send(
    client_id: Annotated[str, typer.Argument(help="The client's id.")],
    message: Message,
    binary: Binary = False,
    api: Api = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Send one message to one client, on whatever node it is."""
    from towline.cli import output

    result = _call(_found(api, data), "/v1/mesh/send", client_id, message, binary)
    if as_json:
        output.emit(result)
    else:
        typer.echo("sent" if result["s"] else "not sent")
    if not result["s"]:
        raise typer.Exit(1)


@app.command()
def publish(
    channel: Annotated[str, typer.Argument(help="The channel.")],
    message: Message,
    binary: Binary = False,
    api: Api = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Send one message to every client that subscribes to a channel, on every node."""
    from towline.cli import output

    result = _call(_found(api, data), "/v1/mesh/publish", channel, message, binary)
    if as_json:
        output.emit(result)
    else:
        typer.echo(f"{result['s']} sent, {result['f']} failed")


@app.command()
def consume(
    topics: Annotated[list[str], typer.Argument(metavar="TOPIC...", help="The topics.")],
    count: Annotated[int, typer.Option("--count", help="End after this many messages; 0: go on.", min=0)] = 0,
    api: Api = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Take messages that clients' entries queue in topics, from every node, and print one a line.

    What comes here nobody else gets: each message goes to one consumer. One of a durable topic is acked once it is printed. Of
    other topics, what was under way when this command ends is lost.
    """
    import asyncio
    import json

    from towline.client import Consumer

    api = _found(api, data)
    _reach(api)

    async def work() -> None:
        seen = 0
        # What is fetched beyond the count would be given back, and count as delivered.
        async with Consumer(*topics, url=api, prefetch=min(count, 16) or 16) as consumer:
            async for event in consumer:
                if as_json:
                    shown = {"node": event.node, "client_id": event.client_id, "topic": event.topic, "data": event.data}
                    line = json.dumps(shown)
                else:
                    line = event.data if isinstance(event.data, str) else json.dumps(event.data, ensure_ascii=False)
                typer.echo(line)
                seen += 1
                if seen == count:
                    return

    asyncio.run(work())


def _found(api: str | None, data: Path | None) -> str:
    """``--api``, else what a server on this machine left in its data directory."""
    from towline.cli import http

    if api is not None:
        return api
    try:
        return (http.data_directory(data) / "cli-push-url").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return DEFAULT_API


def _shown(api: str) -> str:
    """The address without its password. InvalidInput ``cli.url`` when it is none."""
    import httpx

    from towline.errors import InvalidInput

    try:
        return str(httpx.URL(api).copy_with(username="", password=""))
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InvalidInput("cli.url", f"--api is no address: {error}", where="--api") from None


def _reach(api: str) -> None:
    """A consumer waits for its node; a person should hear that there is none."""
    import httpx

    from towline.errors import Unavailable

    shown = _shown(api)
    try:
        httpx.get(api.rstrip("/") + "/version", timeout=15.0, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise Unavailable(
            "cli.unreachable", f"cannot reach {shown}: {error}", hint="is a gateway running there?"
        ) from None


def _call(api: str, path: str, to: str, message: str, binary: bool) -> dict[str, Any]:
    import sys

    import httpx

    from towline.errors import TowlineError, Unavailable

    text = sys.stdin.read() if message == "-" else message
    body = {"c": to, "d": text, "t": "binary" if binary else "text"}
    shown = _shown(api)
    try:
        answer = httpx.post(api.rstrip("/") + path, json=body, timeout=15.0, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise Unavailable(
            "cli.unreachable", f"cannot reach {shown}: {error}", hint="is a gateway running there?"
        ) from None
    if answer.status_code != 200:
        raise Unavailable("cli.push", f"{shown} answered with status {answer.status_code}: {answer.text[:200].strip()}")
    envelope = answer.json()
    if envelope.get("E") is not None:
        raise TowlineError(f"push.{envelope['E'].get('c')}", str(envelope["E"].get("m")))
    result: dict[str, Any] = envelope["r"]
    return result
