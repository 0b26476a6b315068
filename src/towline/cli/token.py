# SPDX-License-Identifier: Apache-2.0
"""``towline token``: API tokens for programs."""

from __future__ import annotations

from typing import Annotated

import typer

from towline.cli.output import Data, Json

app = typer.Typer(help="Make, list and revoke API tokens.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    privilege: Annotated[
        list[str] | None, typer.Option("--privilege", "-P", help="A privilege, several times; default read.")
    ] = None,
    days: Annotated[int | None, typer.Option(help="How long it is valid.", min=1, max=3650)] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Make an API token. It is printed once."""
    from towline.cli import http, output

    body = {"name": name, "privileges": privilege or ["read"], "ttl_days": days}
    with http.client(data) as client:
        made = client.call("POST", "/tokens", body)
    if as_json:
        output.emit(made)
        return
    output.note(
        f"{made['name']} ({', '.join(made['privileges'])}), ends {output.ago(made['expires_at'])}; shown only now:"
    )
    typer.echo(made["token"])


@app.command()
def ls(as_json: Json = False, data: Data = None) -> None:
    """List API tokens."""
    from towline.cli import http, output

    with http.client(data) as client:
        page = client.get("/tokens")
    if as_json:
        output.emit(page)
        return
    rows = [
        (
            each["name"],
            each["user"]["name"],
            each["privileges"],
            output.ago(each["created_at"]),
            "revoked" if each["revoked"] else output.ago(each["expires_at"]),
            each["jti"],
        )
        for each in page["tokens"]
    ]
    output.table(("NAME", "USER", "PRIVILEGES", "MADE", "ENDS", "JTI"), rows, empty="no tokens yet")


@app.command()
def revoke(
    jti: Annotated[str, typer.Argument(help="The token's jti, as `towline token ls` shows it.")],
    as_json: Json = False,
    data: Data = None,
) -> None:
    """End a token at once: its live connections are closed, and who waits for a shell command with it is refused.

    Commands that have begun run on.
    """
    from towline.cli import http, output

    with http.client(data) as client:
        client.call("DELETE", f"/tokens/{http.segment(jti)}")
    if as_json:
        output.emit({"revoked": jti})
    else:
        typer.echo(f"{jti} revoked")
