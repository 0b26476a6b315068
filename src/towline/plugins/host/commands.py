# SPDX-License-Identifier: Apache-2.0
"""What the host plugin can do on the machine."""

from __future__ import annotations

import asyncio
import re
import shutil
from typing import Any

import psutil

from towline.errors import Unavailable

HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]{0,252}[A-Za-z0-9])?")
PING_LIMIT_S = 30.0
MEASURE_S = 0.5
REBOOT_IN_S = 3.0
_TRANSMITTED = re.compile(r"(\d+) packets transmitted, (\d+)(?: packets)? received")
_TIMES = re.compile(r"= ([0-9.]+)/([0-9.]+)/([0-9.]+)")


def refuse_host(host: str) -> str | None:
    """Why ``host`` cannot be pinged; a leading dash would be an option of the program."""
    if HOST.fullmatch(host):
        return None
    return f"{host[:60]!r} is no host name or address"


async def ping(host: str, count: str) -> dict[str, Any]:
    """Run the system's ping.

    :raises Unavailable: there is none, or it does not end
    """
    program = shutil.which("ping")
    if program is None:
        raise Unavailable("host.ping", "this machine has no ping program", hint="install iputils-ping")
    process = await asyncio.create_subprocess_exec(
        program,
        "-c",
        count,
        "-W",
        "2",
        host,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), PING_LIMIT_S)
    except TimeoutError:
        raise Unavailable("host.ping", f"ping did not end in {PING_LIMIT_S:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return ping_result(host, output.decode("utf-8", "replace"))


def ping_result(host: str, output: str) -> dict[str, Any]:
    """Ping's output as numbers, with its last lines."""
    result: dict[str, Any] = {"host": host}
    if counts := _TRANSMITTED.search(output):
        result |= {"sent": counts[1], "received": counts[2]}
    if times := _TIMES.search(output):
        result |= {"min_ms": times[1], "avg_ms": times[2], "max_ms": times[3]}
    result["output"] = "\n".join(output.strip().splitlines()[-12:])[-1500:]
    return result


async def top(sort: str, count: str) -> dict[str, Any]:
    """The processes that use most, measured over half a second."""
    processes = list(psutil.process_iter(["pid", "name", "username"]))
    for process in processes:
        _used(process)  # psutil measures between two calls
    await asyncio.sleep(MEASURE_S)
    rows = [(process, _used(process)) for process in processes]
    column = 0 if sort == "cpu" else 1
    rows.sort(key=lambda row: -row[1][column])
    table = [
        {
            "PID": str(process.info["pid"]),
            "User": str(process.info["username"] or "")[:32],
            "CPU %": f"{cpu:.1f}",
            "Memory %": f"{memory:.1f}",
            "Name": str(process.info["name"] or "")[:64],
        }
        for process, (cpu, memory) in rows[: int(count)]
    ]
    return {"processes": table}


def _used(process: psutil.Process) -> tuple[float, float]:
    try:
        with process.oneshot():
            return process.cpu_percent(None), process.memory_percent()
    except psutil.Error:  # it ended, or is not ours to see
        return 0.0, 0.0


def refuse_reboot(allowed: bool) -> str | None:
    """Why a reboot is refused."""
    if not allowed:
        return "reboot is switched off on this device; start the host plugin with --allow-reboot"
    if shutil.which("systemctl") is None and shutil.which("reboot") is None:
        return "this machine has neither systemctl nor reboot"
    return None


async def reboot(delay_s: float = REBOOT_IN_S) -> None:
    """Reboot after a moment, in which the answer can leave."""
    await asyncio.sleep(delay_s)
    systemctl = shutil.which("systemctl")
    arguments = [systemctl, "reboot"] if systemctl else [shutil.which("reboot") or "reboot"]
    process = await asyncio.create_subprocess_exec(*arguments, stdin=asyncio.subprocess.DEVNULL)
    await process.wait()
