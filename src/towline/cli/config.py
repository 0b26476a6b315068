# SPDX-License-Identifier: Apache-2.0
"""``towline config``: what is in force, whether a file is right, what can be set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Show, check and explain settings.", no_args_is_help=True)

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="Settings file; towline.yaml in this directory when it exists.")
]


@app.command()
def show(
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with a map of sources.")] = False,
) -> None:
    """Print the settings in force, and where each that is not a default came from."""
    import msgspec

    from towline.app.settings import load_settings
    from towline.config.loader import dump

    loaded = load_settings(config)
    if as_json:
        typer.echo(json.dumps({"settings": msgspec.to_builtins(loaded.settings), "sources": loaded.sources}, indent=2))
    else:
        typer.echo(dump(loaded), nl=False)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The settings file.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Check a settings file without starting anything. Exit status 2 when it is wrong."""
    from towline.app.settings import load_settings

    loaded = load_settings(file, environ={})
    count = len(loaded.sources)
    typer.echo(json.dumps({"ok": True, "settings": count}) if as_json else f"{file}: {count} settings, all right")


@app.command()
def reference(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Print every setting with its type, limits, default and meaning, as Markdown."""
    import msgspec

    from towline.app.settings import Settings
    from towline.config.reference import markdown
    from towline.config.schema import settings

    if as_json:
        rows = [
            setting._replace(default=msgspec.to_builtins(setting.default))._asdict() for setting in settings(Settings)
        ]
        typer.echo(json.dumps(rows, indent=2))
    else:
        typer.echo(markdown(Settings), nl=False)
