# SPDX-License-Identifier: Apache-2.0
"""``towline plugin``: credentials of plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from towline.cli.output import Data, Json

app = typer.Typer(help="Make, list and revoke plugins' credentials.", no_args_is_help=True)

Guid = Annotated[str, typer.Argument(help="The plugin's appGUID.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write the credential file here (0600).")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    app_guid: Annotated[str | None, typer.Option(help="A given appGUID (UUID version 4); a new one otherwise.")] = None,
    platform: Annotated[str, typer.Option(help="Platform it runs on.")] = "linux",
    architecture: Annotated[str, typer.Option(help="Architecture it runs on.")] = "x86_64",
    out: Out = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Make a plugin's appGUID and access key."""
    from towline.cli import http
    from towline.errors import Refused

    if out is not None and out.exists():
        raise Refused(
            "cli.file", "it is there already; a key in it would be lost", where=str(out), hint="give another name"
        )
    body = {"name": name, "app_guid": app_guid, "platform": platform, "architecture": architecture}
    with http.client(data) as client:
        made = client.call("POST", "/plugins", body)
    _give(made, out, as_json)


@app.command()
def credential(app_guid: Guid, out: Out = None, as_json: Json = False, data: Data = None) -> None:
    """Show a plugin's credential again. The audit log keeps that it was read."""
    from towline.cli import http

    with http.client(data) as client:
        found = client.get(f"/plugins/{http.segment(app_guid)}/credential")
    _give(found, out, as_json)


@app.command()
def ls(as_json: Json = False, data: Data = None) -> None:
    """List credentials, without their keys."""
    from towline.cli import http, output

    with http.client(data) as client:
        page = client.get("/plugins")
    if as_json:
        output.emit(page)
        return
    rows = [
        (each["name"], each["app_guid"], each["platform"], each["architecture"], each["devices"])
        for each in page["plugins"]
    ]
    output.table(("NAME", "APPGUID", "PLATFORM", "ARCHITECTURE", "DEVICES"), rows, empty="no credentials yet")


@app.command()
def revoke(app_guid: Guid, as_json: Json = False, data: Data = None) -> None:
    """Void a plugin's key at once, on every device."""
    from towline.cli import http, output

    with http.client(data) as client:
        client.call("DELETE", f"/plugins/{http.segment(app_guid)}")
    if as_json:
        output.emit({"revoked": app_guid})
    else:
        typer.echo(f"{app_guid} revoked")


def credential_file(found: dict[str, Any]) -> dict[str, str]:
    """What ``plugin_credential.json`` holds (spec octo §7)."""
    return {key: found[key] for key in ("app_guid", "access_key", "platform", "architecture")}


def _give(found: dict[str, Any], out: Path | None, as_json: bool) -> None:
    import json
    import os

    from towline.cli import output
    from towline.errors import Refused

    if out is not None:
        try:
            descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o600)
                json.dump(credential_file(found), file, indent=2)
                file.write("\n")
        except OSError as error:
            raise Refused("cli.file", f"cannot write it: {error.strerror}", where=str(out)) from None
        output.note(f"credential of {found['name']} written to {out}")
    if as_json:
        output.emit(found)
    elif out is None:
        output.emit(credential_file(found))
