# SPDX-License-Identifier: Apache-2.0
"""A real nats-server on a free loopback port with a store of its own, ended by its pid."""

from __future__ import annotations

import socket
import subprocess
import tempfile
from pathlib import Path

from tests.conftest import find_program
from tests.helpers import free_port, wait_until


class NatsServer:
    """``options`` are further command line options; ``config`` is the text of a configuration file."""

    def __init__(self, *options: str, jetstream: bool = True, config: str = "") -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="nats-")
        self.path = Path(self._directory.name)
        self.port = free_port()
        self._options = list(options)
        if jetstream:
            self._options += ["-js", "-sd", str(self.path / "store")]
        if config:
            (self.path / "nats.conf").write_text(config)
            self._options += ["-c", str(self.path / "nats.conf")]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> NatsServer:
        for _ in range(5):
            self._launch()
            if self._answers():
                return self
            self.kill()  # the port was taken in between
            self.port = free_port()
        raise AssertionError(f"nats-server does not start: {(self.path / 'log').read_text()[-2000:]}")

    def restart(self) -> None:
        """Again on the same port, with the same store."""
        self._launch()
        assert self._answers(), (self.path / "log").read_text()[-2000:]

    def _launch(self) -> None:
        program = find_program("nats-server")
        assert program is not None
        command = [program, "-a", "127.0.0.1", "-p", str(self.port), *self._options]
        with (self.path / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def _answers(self) -> bool:
        process = self._process
        assert process is not None

        def settled() -> bool:
            return process.poll() is not None or self._greets()

        wait_until(settled, 15, what="nats-server's greeting")
        return process.poll() is None

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.settimeout(1)
                return probe.recv(4096).startswith(b"INFO")
        except OSError:
            return False

    def kill(self) -> None:
        """End it without a good-bye (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        self.kill()
        self._directory.cleanup()
