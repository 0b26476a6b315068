# SPDX-License-Identifier: Apache-2.0
"""``towline login``: keep a server's address and a token for later commands."""

from __future__ import annotations

from typing import Annotated

import typer

from towline.cli.output import Json

app = typer.Typer(help="Sign in to a Towline, for the commands that follow.", invoke_without_command=True)


@app.callback(invoke_without_command=True)
def login(
    url: Annotated[str, typer.Option(help="The portal's address.")] = "http://127.0.0.1:8080",
    user: Annotated[str | None, typer.Option(help="User name; asked for otherwise.")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read an API token from standard input; no user is needed.")
    ] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Remove what is stored.")] = False,
    as_json: Json = False,
) -> None:
    """Sign in and keep the session (10 hours), or an API token, in ~/.config/towline/cli.json (0600)."""
    from towline.cli import http, output

    if forget:
        found = http.forget()
        output.emit({"forgotten": found}) if as_json else typer.echo("forgotten" if found else "nothing was stored")
        return
    url = url.rstrip("/")
    if token_stdin:
        token = http.stdin_line("token").strip()
    else:
        name = user or typer.prompt("User", err=True)
        password = (
            http.stdin_line("password") if password_stdin else typer.prompt("Password", hide_input=True, err=True)
        )
        with http.Client(http.Target(url, "", url)) as client:
            token = client.call("POST", "/session", {"user": name, "password": password})["token"]
    signed = http.Target(url, token, "standard input" if token_stdin else url)
    with http.Client(signed) as client:
        session = client.get("/session")
    path = http.store(signed)
    if as_json:
        output.emit({"url": url, "user": session["user"]["name"], "stored": str(path), "until": session["expires_at"]})
    else:
        until = f"until {session['expires_at']}" if session["expires_at"] else "for good"
        typer.echo(f"signed in to {url} as {session['user']['name']} {until}")
