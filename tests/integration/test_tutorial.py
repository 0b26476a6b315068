# SPDX-License-Identifier: Apache-2.0
"""The tutorial's commands, run in order, with what they print compared: … stands for anything."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import wait_until
from tests.integration.product import Product, environment, local_device

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "guides" / "tutorial.md"


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    made = Product(tmp_path)
    (tmp_path / "towline-data").symlink_to(made.data)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    made.start()
    yield made
    made.close()


def fences(text: str) -> list[tuple[str, str]]:
    """(info string, content) of every fenced block."""
    return re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def matches(expected: str, printed: str) -> bool:
    """Line by line; … for any text. What is printed after the expected lines does not matter."""
    pattern = r"\s*\n".join(".*".join(re.escape(part) for part in line.split("…")) for line in expected.splitlines())
    return re.match(pattern, printed) is not None


def test_the_tutorial_does_what_it_says(product: Product) -> None:
    text = PAGE.read_text("utf-8").replace("http://127.0.0.1:8080", product.url)
    environ = environment() | {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/local/bin",
        "TOWLINE_PLUGIN_URL": f"wss://localhost:{product.ports['plugin']}",
    }
    background: list[subprocess.Popen[bytes]] = []
    commands = 0
    with product.client() as client:
        device = local_device(client)["id"]

        def plugins_online() -> int:
            return sum(one["online"] for one in client.get(f"/devices/{device}/plugins").json()["plugins"])

        wait_until(lambda: plugins_online() == 1, what="the host plugin")
        try:
            for info, content in fences(text):
                if info.startswith("python file="):
                    (product.folder / info.split("=", 1)[1]).write_text(content)
                elif info.startswith("console"):
                    steps = re.split(r"^\$ ", content, flags=re.MULTILINE)[1:]
                    for step in steps:
                        command, _, expected = step.partition("\n")
                        commands += 1
                        if info == "console background":
                            already = plugins_online()
                            words = ["/bin/sh", "-c", f"exec {command}"]
                            background.append(subprocess.Popen(words, cwd=product.folder, env=environ))
                            wait_until(lambda before=already: plugins_online() > before, what=command)  # type: ignore[misc]
                            continue
                        ran = subprocess.run(
                            ["/bin/sh", "-c", command],
                            cwd=product.folder,
                            env=environ,
                            stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT,
                            text=True,
                            timeout=30,
                            check=False,
                        )
                        assert ran.returncode == 0, f"{command}\n{ran.stdout}"
                        assert matches(expected, ran.stdout), (
                            f"{command}\nexpected:\n{expected}\nprinted:\n{ran.stdout}"
                        )
        finally:
            for process in background:
                process.terminate()
                process.wait(5)
    assert commands >= 8
