# SPDX-License-Identifier: Apache-2.0
"""One ``towline gateway`` process without a bus, in a directory and on ports of its own."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import httpx

from tests.helpers import free_port, wait_until
from tests.integration.product import TOWLINE, environment, resident_kb
from tests.integration.wrong.pushapi import Counted


class GatewayProcess:
    """``settings`` is the text of its ``towline.yaml``, in which ``{api}`` and the other names of ``ports`` stand for them.
    Files that it names are in ``folder`` already."""

    def __init__(self, folder: Path, settings: str, *ports: str) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("api", "clients", *ports)}
        text = re.sub(r"\{(\w+)\}", lambda match: str(self.ports[match[1]]), settings)
        (folder / "towline.yaml").write_text(text)
        self._output = folder / "output.txt"
        with self._output.open("wb") as out:
            self.process = subprocess.Popen(
                [*TOWLINE, "gateway"], cwd=folder, env=environment(), stdout=out, stderr=out
            )
        wait_until(self._ready, 30, what="the node's readiness")

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.output()
        return "ready" in self.output()

    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def stop(self) -> None:
        """SIGTERM; it ends well and has logged no traceback."""
        self.process.terminate()
        assert self.process.wait(15) == 0, self.output()[-4000:]
        assert "Traceback" not in self.output(), self.output()[-4000:]

    def close(self) -> None:
        """The end, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def memory_mb(self) -> float:
        return resident_kb(self.process.pid) / 1024

    def metrics(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self.ports['api']}/metrics", timeout=20).text

    def counts(self) -> Counted:
        """What it counted: (figure without its prefix, value of its label), of all ports together."""
        counts: Counted = Counter()
        for line in self.metrics().splitlines():
            if match := re.fullmatch(r"towline_gateway_(\w+?)_total(?:\{(.*)\})? ([\d.e+]+)", line):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
                labels.pop("listener", None)
                counts[match[1], "".join(labels.values())] += int(float(match[3]))
        return counts
