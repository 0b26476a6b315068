# SPDX-License-Identifier: Apache-2.0
"""What a newcomer sees: one command, this machine live, everything back after a kill, nothing lost on a restart."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import wait_until
from tests.integration.product import Product, local_device, resident_kb, running

pytestmark = pytest.mark.slow


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    made = Product(tmp_path)
    yield made
    made.close()


def cpu_points(client: object, device: str) -> list[list[float]]:
    answer = client.get(f"/devices/{device}/metrics", params={"from": "-15m"})  # type: ignore[attr-defined]
    assert answer.status_code == 200, answer.text
    return [point for series in answer.json()["series"] if "cpu" in series["field"] for point in series["points"]]


def test_first_start_shows_this_machine_live(product: Product) -> None:
    began = time.monotonic()
    product.start()
    assert product.password
    with product.client() as client:
        device = local_device(client)
        wait_until(lambda: len(cpu_points(client, device["id"])) >= 2, 20, what="two CPU points")
        assert time.monotonic() - began < 25
        plugins = client.get(f"/devices/{device['id']}/plugins").json()["plugins"]
        assert [plugin["app_name"] for plugin in plugins] == ["towline-host"]
        answer = client.post(f"/devices/{device['id']}/exec", json={"cmd": "echo hello; echo oops >&2; exit 3"})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert (body["stdout"], body["stderr"], body["return_code"]) == ("hello\n", "oops\n", 3)
    began = time.monotonic()
    assert product.stop() == 0
    assert time.monotonic() - began < 5


def test_a_restart_keeps_everything_and_asks_nothing(product: Product) -> None:
    product.start()
    with product.client() as client:
        device = local_device(client)
        wait_until(lambda: cpu_points(client, device["id"]), 20)
        before = cpu_points(client, device["id"])
    assert product.stop() == 0
    product.start()
    assert "password" not in product.output()
    with product.client() as client:
        again = local_device(client)
        assert again["id"] == device["id"]
        assert cpu_points(client, device["id"])[: len(before)] == before


@pytest.mark.parametrize("victims", [["server"], ["agent"], ["host"], ["server", "agent", "host"]], ids="+".join)
def test_killed_processes_come_back_by_themselves(product: Product, victims: list[str]) -> None:
    product.start()
    with product.client() as client:
        device = local_device(client)
        wait_until(lambda: len(cpu_points(client, device["id"])) >= 2, 20)
        before = product.children()
        for role in victims:
            os.kill(before[role], signal.SIGKILL)

        def back() -> bool:
            after = product.children()
            return all(role in after and after[role] != before[role] for role in victims)

        wait_until(back, 20, what="new processes")
        killed_at = time.time() * 1000

        def fresh() -> bool:
            try:
                return any(point[0] > killed_at for point in cpu_points(client, device["id"]))
            except Exception:
                return False  # the server is not back yet

        wait_until(fresh, 40, what="fresh telemetry")
        assert local_device(client)["id"] == device["id"]


def test_a_killed_supervisor_takes_its_children_along_and_starts_again(product: Product) -> None:
    product.start()
    children = product.children()
    assert product.process is not None
    product.process.kill()
    product.process.wait(5)
    wait_until(lambda: not any(running(pid) for pid in children.values()), 8, what="end of the children")
    product.start()
    with product.client() as client:
        local_device(client)


def test_a_second_start_on_the_same_data_is_refused(product: Product, tmp_path: Path) -> None:
    product.start()
    second = Product(tmp_path / "second")
    second.folder.mkdir()
    second.arguments[second.arguments.index("--data") + 1] = str(product.data)
    second.start(ready=False)
    assert second.process is not None
    assert second.process.wait(10) == 2
    assert "is in use by another towline" in second.output()
    assert len(second.output().strip().splitlines()) == 1


def fails_in_one_line(product: Product, *words: str) -> None:
    product.start(ready=False)
    assert product.process is not None
    assert product.process.wait(20) == 2, product.output()
    lines = [line for line in product.output().strip().splitlines() if line]
    assert len(lines) == 1, product.output()
    for word in words:
        assert word in lines[0]


def test_a_taken_port_is_one_line(product: Product) -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", product.ports["portal"]))
        other.listen()
        fails_in_one_line(product, str(product.ports["portal"]), "in use", "portal.port")


def test_a_first_start_that_fails_does_not_swallow_the_password(product: Product) -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", product.ports["plugin"]))
        other.listen()
        fails_in_one_line(product, str(product.ports["plugin"]))
    product.start()
    assert product.password
    with product.client():
        pass
    product.stop()
    product.start()
    assert "with the password" not in product.output()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; the next test covers root")
def test_a_directory_that_cannot_be_written_is_one_line(product: Product) -> None:
    product.data.mkdir()
    product.data.chmod(0o500)
    fails_in_one_line(product, "cannot write the data directory")


def test_a_data_path_through_a_file_is_one_line(product: Product) -> None:
    product.data.write_text("not a directory")
    fails_in_one_line(product, "data directory")


def test_broken_yaml_is_one_line(product: Product) -> None:
    (product.folder / "towline.yaml").write_text("log:\n  level: [\n")
    fails_in_one_line(product, "towline.yaml:3:1", "not valid YAML")


def test_a_wrong_setting_is_one_line(product: Product) -> None:
    (product.folder / "towline.yaml").write_text("log:\n  lvel: debug\n")
    fails_in_one_line(product, "towline.yaml:2:3", "log.lvel", "did you mean level?")


def test_a_newer_database_is_one_line(product: Product) -> None:
    product.start()
    product.stop()
    with sqlite3.connect(product.data / "towline.db") as database:
        database.execute("PRAGMA user_version = 9999")
    database.close()
    fails_in_one_line(product, "newer")


def test_processes_stay_small(product: Product) -> None:
    """Half a minute after the start; the figures after five minutes are measured by the soak."""
    product.start()
    with product.client() as client:
        device = local_device(client)
        wait_until(lambda: len(cpu_points(client, device["id"])) >= 4, 30)
    assert product.process is not None
    sizes = {role: resident_kb(pid) // 1024 for role, pid in product.children().items()}
    sizes["supervisor"] = resident_kb(product.process.pid) // 1024
    limits = {"server": 200, "agent": 60, "host": 45, "supervisor": 20}
    assert {role: size for role, size in sizes.items() if size > limits[role]} == {}, sizes
