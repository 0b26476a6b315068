# SPDX-License-Identifier: Apache-2.0
"""Run what stands in examples/ as its README says: the node from its configuration file, programs as processes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from websockets.asyncio.client import ClientConnection

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"


def settings_of(example: str) -> dict[str, Any]:
    """The ``gateway`` block of an example's configuration file; paths in it start at the root of the repository."""
    block: dict[str, Any] = yaml.safe_load((EXAMPLES / example / f"{example}.yaml").read_text())["gateway"]
    if not block["entry"].startswith("builtin:"):
        block["entry"] = str(ROOT / block["entry"])
    return block


class Program:
    """A program of an example, and the lines it prints."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        assert self._process.stdout is not None
        return (await asyncio.wait_for(self._process.stdout.readline(), 15)).decode().rstrip("\n")

    def type(self, line: str) -> None:
        """A line on its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    async def ends(self) -> str:
        """What it still prints, once it ended without an error."""
        out, err = await asyncio.wait_for(self._process.communicate(), 15)
        assert self._process.returncode == 0, err.decode()
        return out.decode().strip()


@asynccontextmanager
async def program(path: str, *arguments: str, **environment: str) -> AsyncIterator[Program]:
    """``python examples/PATH ARGUMENTS…`` until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / path), *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )  # fmt: skip
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.terminate()
        _, err = await process.communicate()
        assert b"Traceback" not in err, err.decode()


async def ask(client: ClientConnection, **message: Any) -> None:
    await client.send(json.dumps(message))


async def hear(client: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(client.recv(), 15))
