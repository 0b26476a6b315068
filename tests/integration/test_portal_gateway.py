# SPDX-License-Identifier: Apache-2.0
"""The portal's gateway page in a real browser, with real clients on a node."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, StorageState, ViewportSize, expect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.integration.product import Product
from tests.integration.test_portal import Viewer, browser, sign_in

__all__ = ["browser"]

pytestmark = pytest.mark.needs_browser

ENTRY = """
def on_handshake(conn, handshake):
    conn.subscribe(*filter(None, handshake.query.split(",")))
    conn.set_context({"name": "ann", "plan": {"paid": True}})
    conn.send(conn.id)

def on_message(conn, message):
    conn.queue.push("orders", message.data)
"""


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    (folder / "entry.py").write_text(ENTRY)
    (folder / "towline.yaml").write_text("gateway: { entry: entry.py, path: /in }\n")
    running = Product(folder, "--no-agent")
    try:
        yield running.start()
    finally:
        running.close()


@pytest.fixture(scope="module")
def session(browser: Browser, product: Product) -> StorageState:
    context = browser.new_context(base_url=product.url)
    sign_in(context.new_page(), product)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def viewer(browser: Browser, product: Product, session: StorageState) -> Iterator[Viewer]:
    size: ViewportSize = {"width": 1400, "height": 900}
    context = browser.new_context(base_url=product.url, viewport=size, storage_state=session)
    context.set_default_timeout(15_000)
    seen = Viewer(context.new_page())
    seen.page.goto("/gateway")
    yield seen
    context.close()
    assert not seen.complaints


@pytest.fixture
def clients(product: Product) -> Iterator[list[tuple[ClientConnection, str]]]:
    """Three clients of a room, one with a long subscription besides; each with its id."""
    with ExitStack() as stack:
        made = []
        for more in ("", "", "," + "x" * 1000):
            url = f"ws://127.0.0.1:{product.ports['clients']}/in?room:lobby{more}"
            socket = stack.enter_context(connect(url, user_agent_header="tester/1"))
            made.append((socket, str(socket.recv(5))))
        yield made


def go(page: Page, view: str) -> None:
    page.get_by_role("navigation", name="Gateway").get_by_role("button", name=view).click()


def test_empty_views_teach_the_next_step(viewer: Viewer, product: Product) -> None:
    page = viewer.page
    expect(page.get_by_test_id("nodes")).to_contain_text(f"127.0.0.1:{product.ports['api']}")
    expect(page.get_by_test_id("listeners")).to_contain_text("entry.py")
    go(page, "Clients")
    expect(page.get_by_text(f"python -m websockets ws://127.0.0.1:{product.ports['clients']}/in")).to_be_visible()
    go(page, "Channels")
    expect(page.get_by_text('conn.subscribe("news")')).to_be_visible()
    go(page, "Queues")
    expect(page.get_by_text("towline push consume orders")).to_be_visible()
    go(page, "Console")
    expect(page.get_by_text("towline push publish CHANNEL 'hello'")).to_be_visible()


def test_figures_move_while_clients_come_and_talk(viewer: Viewer, clients: list[tuple[ClientConnection, str]]) -> None:
    page = viewer.page
    row = page.get_by_test_id("nodes").locator("tbody tr")
    expect(row.locator("[data-label=Clients]")).to_have_text("3")
    expect(row.locator("[data-label=Channels]")).to_have_text("2")
    for _ in range(20):
        clients[0][0].send("order")
    expect(page.get_by_test_id("listeners").locator("[data-label=Messages]")).to_have_text("20")
    go(page, "Queues")
    topic = page.get_by_test_id("topics").locator("tbody tr")
    expect(topic).to_contain_text("orders")
    expect(topic).to_contain_text("20")
    expect(topic).to_contain_text("nobody")


def test_from_a_channel_to_its_subscribers_to_one_client(
    viewer: Viewer, clients: list[tuple[ClientConnection, str]]
) -> None:
    page = viewer.page
    go(page, "Channels")
    rows = page.get_by_test_id("channels").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("room:lobby")
    expect(rows.first).to_contain_text("3")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "a long name widens the page"
    page.keyboard.press("/")
    page.keyboard.type("xxx")
    expect(rows).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("view=clients"))
    found = page.get_by_test_id("clients").locator("tbody tr")
    expect(found).to_have_count(1)
    expect(found).to_contain_text(clients[2][1])
    found.click()
    details = page.get_by_test_id("client")
    expect(details).to_contain_text('"paid": true')
    expect(details).to_contain_text("tester/1")
    expect(details.get_by_role("button", name="room:lobby")).to_be_visible()
    page.keyboard.press("Escape")
    expect(details).not_to_be_visible()
    page.get_by_label("Show all clients").click()
    expect(found).to_have_count(3)
    page.get_by_label("Beginning of an id or address").fill("nobody")
    expect(page.get_by_text("No client matches")).to_be_visible()


def test_publish_send_and_what_became_of_it(viewer: Viewer, clients: list[tuple[ClientConnection, str]]) -> None:
    page = viewer.page
    go(page, "Channels")
    page.get_by_test_id("channels").locator("tr", has_text="room:lobby").get_by_role("button", name="Publish").click()
    expect(page.get_by_label("Channel", exact=True)).to_have_value("room:lobby")
    page.get_by_label("Message", exact=True).fill("high tide")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_test_id("counts")).to_have_text("3 sent, 0 failed")
    assert [socket.recv(5) for socket, _ in clients] == ["high tide"] * 3
    page.get_by_role("radio", name="Send to a client").click()
    page.get_by_label("Client id").fill(clients[1][1])
    page.get_by_role("radio", name="Binary, as base64").click()
    page.get_by_label("Message", exact=True).fill("AAE")
    expect(page.get_by_text("This is not base64")).to_be_visible()
    page.get_by_label("Message", exact=True).fill("AAE=")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_test_id("counts").first).to_have_text("1 sent, 0 failed")
    assert clients[1][0].recv(5) == b"\x00\x01"
    page.get_by_label("Client id").fill("15")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_test_id("sent").first).to_contain_text("client '15' is not connected")


def test_disconnecting_a_client_asks_first(viewer: Viewer, clients: list[tuple[ClientConnection, str]]) -> None:
    page = viewer.page
    socket, client_id = clients[0]
    page.goto(f"/gateway?view=clients&client={client_id}")
    page.get_by_test_id("client").get_by_role("button", name="Disconnect").click()
    dialog = page.get_by_role("dialog", name="Disconnect this client?")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
    expect(page.get_by_test_id("client")).to_be_visible()
    page.get_by_test_id("client").get_by_role("button", name="Disconnect").click()
    dialog.get_by_label("It is not to come back").check()
    dialog.get_by_role("button", name="Disconnect").click()
    with pytest.raises(ConnectionClosed):
        socket.recv(5)
    assert socket.close_code == 3520
    expect(page.get_by_test_id("clients").locator("tbody tr")).to_have_count(2)
    page.goto(f"/gateway?view=clients&client={client_id}")
    expect(page.get_by_text("This client is gone")).to_be_visible()


def test_a_reader_sees_and_does_not_act(
    browser: Browser, product: Product, clients: list[tuple[ClientConnection, str]]
) -> None:
    with product.client() as rest:
        body = {"name": "reader", "password": "only for reading", "privileges": ["read"]}
        assert rest.post("/users", json=body).status_code == 200
    context = browser.new_context(base_url=product.url)
    page = context.new_page()
    page.goto("/gateway?view=clients")
    page.get_by_label("User name").fill("reader")
    page.locator("input[name=password]").fill("only for reading")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_test_id("clients").locator("tbody tr").first.click()
    expect(page.get_by_text("needs the privilege manage_gateway")).to_be_visible()
    page.keyboard.press("Escape")
    go(page, "Console")
    expect(page.get_by_role("button", name="Publish", exact=True)).to_be_disabled()
    context.close()


def test_keys_and_palette_lead_there(viewer: Viewer) -> None:
    page = viewer.page
    page.goto("/devices")
    expect(page.get_by_role("heading", name="Devices")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("g")
    expect(page.get_by_role("heading", name="Gateway")).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("send and publish")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("view=console"))


def test_what_was_done_is_in_the_audit_log(product: Product) -> None:
    with product.client() as rest:
        entries = rest.get("/audit").json()["entries"]
    actions = [entry["action"] for entry in entries if entry["action"].startswith("gateway.")]
    assert {"gateway.publish", "gateway.send", "gateway.disconnect"} <= set(actions)
    assert "high tide" not in json.dumps(entries)


def test_when_the_server_is_away_the_last_figures_stay(viewer: Viewer, product: Product) -> None:
    """Last: it ends the server."""
    page = viewer.page
    expect(page.get_by_test_id("nodes")).to_be_visible()
    product.stop()
    expect(page.get_by_text("The figures cannot be renewed at present")).to_be_visible()
    expect(page.get_by_test_id("nodes")).to_be_visible()
