# SPDX-License-Identifier: Apache-2.0
"""What does not change while the machine runs, and the slow states."""

from __future__ import annotations

import os
import platform
import socket
import time
from pathlib import Path
from typing import Any

import psutil

from towline import __version__
from towline.clock import rfc3339
from towline.sdk import Property

MAX_ROWS = 6
MAX_CELL = 60
GIB = 1024**3


def properties(*, allow_reboot: bool) -> list[Property]:
    """The machine's facts; never fails, unknown ones say so."""
    cores = f"{psutil.cpu_count(logical=True)} ({psutil.cpu_count(logical=False) or '?'} physical)"
    rows = [
        ("hostname", "Hostname", socket.gethostname(), "System"),
        ("os", "Operating system", os_name(), "System"),
        ("kernel", "Kernel", f"{platform.system()} {platform.release()}", "System"),
        ("architecture", "Architecture", platform.machine(), "System"),
        ("boot_time", "Boot time", rfc3339(int(psutil.boot_time()) * 1_000_000), "System"),
        ("cpu_model", "CPU", cpu_model(), "Hardware"),
        ("cores", "Cores", cores, "Hardware"),
        ("ram", "Memory", f"{psutil.virtual_memory().total / GIB:.1f} GiB", "Hardware"),
        ("towline", "Towline", __version__, "System"),
    ]
    facts = [
        Property(name, value, display_category=category, display_name=title) for name, title, value, category in rows
    ]
    facts.append(Property("addresses", addresses(), "table", display_category="Network", display_name="Addresses"))
    facts.append(Property("reboot_allowed", "yes" if allow_reboot else "no", "displayOn"))
    return facts


def os_name() -> str:
    """``Debian GNU/Linux 12 (bookworm)``, or the system's own name."""
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return f"{platform.system()} {platform.release()}"


def cpu_model() -> str:
    """The processor's marketing name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "Hardware") and value.strip():
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"


def addresses() -> list[dict[str, str]]:
    """Interfaces that are up, loopback left out, with their addresses."""
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    rows = []
    for name, entries in sorted(psutil.net_if_addrs().items()):
        kinds = {int(entry.family): entry.address.partition("%")[0] for entry in reversed(entries)}
        address, mac = kinds.get(int(socket.AF_INET)) or kinds.get(int(socket.AF_INET6)), kinds.get(int(psutil.AF_LINK))
        if name in up and address and not address.startswith("127.") and address != "::1":
            rows.append({"Interface": _cell(name), "Address": _cell(address), "MAC": _cell(mac or "")})
    return rows[:MAX_ROWS]


def states() -> dict[str, Any]:
    """Uptime, load and the largest file systems; together well under one message."""
    one, five, fifteen = os.getloadavg()
    return {
        "uptime": duration(time.time() - psutil.boot_time()),
        "load": f"{one:.2f} {five:.2f} {fifteen:.2f}",
        "filesystems": filesystems(),
    }


def filesystems() -> list[dict[str, str]]:
    """The largest file systems, each device once."""
    found: dict[str, tuple[int, dict[str, str]]] = {}
    for part in psutil.disk_partitions(all=False):
        try:
            usage = psutil.disk_usage(part.mountpoint)
        except OSError:  # a vanished or stale mount
            continue
        row = {
            "Mounted on": _cell(part.mountpoint),
            "Size": f"{usage.total / GIB:.1f} GiB",
            "Free": f"{usage.free / GIB:.1f} GiB",
            "Used": f"{usage.percent:.0f} %",
        }
        known = found.get(part.device)
        if known is None or len(part.mountpoint) < len(known[1]["Mounted on"]):
            found[part.device] = (usage.total, row)
    if not found:  # a container may list no partition at all
        usage = psutil.disk_usage("/")
        row = {"Mounted on": "/", "Size": f"{usage.total / GIB:.1f} GiB", "Free": f"{usage.free / GIB:.1f} GiB"}
        found[""] = (usage.total, {**row, "Used": f"{usage.percent:.0f} %"})
    largest = sorted(found.values(), key=lambda entry: -entry[0])[:MAX_ROWS]
    return [row for _, row in largest]


def duration(seconds: float) -> str:
    """``3 d 4 h 5 min``, days left out when there are none."""
    minutes = int(seconds) // 60
    days, hours = minutes // 1440, minutes // 60 % 24
    text = f"{hours} h {minutes % 60} min"
    return f"{days} d {text}" if days else text


def _cell(text: str) -> str:
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"
