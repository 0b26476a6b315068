# SPDX-License-Identifier: Apache-2.0
"""``python -m towline.plugins.host --credential FILE [--port N] [--allow-reboot]``"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from towline.errors import TowlineError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal; 2 when it cannot start."""
    parser = argparse.ArgumentParser(
        prog="python -m towline.plugins.host",
        description="Reports CPU, memory, disk, network and more to the agent on this machine.",
    )
    parser.add_argument("--credential", metavar="FILE", help="plugin_credential.json; or TOWLINE_PLUGIN_CREDENTIAL")
    parser.add_argument("--port", type=int, metavar="N", help="the agent's plugin port; default 55688")
    parser.add_argument("--allow-reboot", action="store_true", help="let operators reboot this machine")
    options = parser.parse_args(arguments)

    from towline.plugins.host.plugin import build, credential_path, default_url
    from towline.sdk import Credential

    path = credential_path(options.credential)
    if path is None:
        parser.error("--credential FILE or TOWLINE_PLUGIN_CREDENTIAL is required")
    try:
        plugin = build(Credential.load(path), url=default_url(options.port), allow_reboot=options.allow_reboot)
    except TowlineError as exc:
        print(f"towline-host: {exc}", file=sys.stderr)  # noqa: T201 - for the person at the terminal
        return 2
    plugin.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
