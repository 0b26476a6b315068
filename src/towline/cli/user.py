# SPDX-License-Identifier: Apache-2.0
"""``towline user``: who can sign in, and a way back in for whoever is locked out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from towline.cli.output import Data, Json

if TYPE_CHECKING:
    from towline.cli import http

app = typer.Typer(help="Users, and a new password for whoever is locked out.", no_args_is_help=True)


@app.command()
def ls(as_json: Json = False, data: Data = None) -> None:
    """List users."""
    from towline.cli import http, output

    with http.client(data) as client:
        page = client.get("/users")
    if as_json:
        output.emit(page)
        return
    rows = [
        (each["name"], each["display_name"], each["privileges"], "disabled" if each["disabled"] else "active",
         output.ago(each["last_login"]), each["id"])
        for each in page["users"]
    ]  # fmt: skip
    output.table(("NAME", "DISPLAY NAME", "PRIVILEGES", "STATE", "LAST SIGN-IN", "ID"), rows)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The name to sign in with.")],
    privilege: Annotated[
        list[str] | None, typer.Option("--privilege", "-P", help="A privilege, several times; default read.")
    ] = None,
    display_name: Annotated[str, typer.Option(help="The person's name.")] = "",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input; generated otherwise.")
    ] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Make a user. A generated password is printed once."""
    from towline.cli import http, output

    password = http.stdin_line("password") if password_stdin else generated()
    body = {
        "name": name,
        "password": password,
        "privileges": privilege or ["read"],
        "display_name": display_name,
    }
    with http.client(data) as client:
        made = client.call("POST", "/users", body)
    shown = None if password_stdin else password
    if as_json:
        output.emit({**made, "password": shown})
        return
    typer.echo(f"user {made['name']} made" + (f", password  {shown}" if shown else ""))


@app.command("reset-password")
def reset_password(
    name: Annotated[str, typer.Argument(help="The user's name.")] = "admin",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Give a user a new generated password, printed once; their sessions end.

    Asks the server when it runs; otherwise works on its data directory, so that somebody who is locked out and sits at
    the machine gets back in.
    """
    from towline.cli import http, output
    from towline.errors import Unavailable

    directory = http.data_directory(data)
    try:
        found = _way_in(directory, named=data is not None)
    except Exception:
        if not (directory / "towline.db").exists():
            raise
        found = None
    password: str | None = None
    if found is not None:
        try:
            password = _reset_by_rest(found, name)
        except Unavailable as error:
            if error.code != "cli.unreachable" or not (directory / "towline.db").exists():
                raise
    if password is None:
        password = _reset_in(directory, name)
    if as_json:
        output.emit({"name": name, "password": password})
    else:
        typer.echo(f"new password of {name}:  {password}")


def generated() -> str:
    """A password of 20 characters that can be told over a telephone: no characters that look alike."""
    import secrets

    alphabet = "abcdefghijkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(5)) for _ in range(4))


def _way_in(directory: Path, *, named: bool) -> http.Target:
    """The machine's own token, unless the environment says otherwise: the session that `towline login` stored may have
    ended, which would lock out again whoever is locked out."""
    import os

    from towline.cli import http
    from towline.errors import Refused

    if named or not (os.environ.get("TOWLINE_TOKEN") or os.environ.get("TOWLINE_URL")):
        try:
            local = http.local_target(directory)
        except Refused:
            if named:
                raise
        else:
            if local is not None:
                return local
    return http.target()


def _reset_by_rest(found: object, name: str) -> str:
    from towline.cli import http
    from towline.errors import NotFound

    assert isinstance(found, http.Target)
    with http.Client(found) as client:
        users = client.get("/users")["users"]
        chosen = next((each for each in users if each["name"] == name), None)
        if chosen is None:
            raise NotFound("user.unknown", f"there is no user {name!r}")
        password = generated()
        client.call("POST", f"/users/{http.segment(chosen['id'])}/password", {"password": password})
    return password


def _reset_in(directory: Path, name: str) -> str:
    import asyncio

    from towline.app.rescue import reset_password as reset

    return asyncio.run(reset(directory, name))
