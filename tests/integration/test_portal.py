# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser against the whole product: what a person sees and does in the first minutes."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, StorageState, ViewportSize, expect, sync_playwright

from tests.conftest import find_program
from tests.integration.product import Product, local_device

pytestmark = pytest.mark.needs_browser

BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    running = Product(tmp_path_factory.mktemp("portal"))
    try:
        yield running.start()
    finally:
        running.close()


@pytest.fixture(scope="module")
def device_id(product: Product) -> str:
    with product.client() as client:
        return str(local_device(client)["id"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find_program("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=BROWSER_ARGUMENTS)
        yield opened
        opened.close()


class Viewer:
    """A signed-in page, with what the browser complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.append(said.text) if "Security Policy" in said.text else None)


@pytest.fixture(scope="module")
def session(browser: Browser, product: Product) -> StorageState:
    """The cookie of someone who has signed in through the page."""
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
    seen.page.goto("/devices")
    yield seen
    context.close()
    assert not seen.complaints


def sign_in(page: Page, product: Product) -> None:
    page.goto("/")
    page.get_by_label("User name").fill("admin")
    page.locator("input[name=password]").fill(product.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Devices")).to_be_visible()


def open_device(page: Page, device_id: str) -> None:
    page.locator(f"tr[data-device='{device_id}']").click()
    expect(page.get_by_test_id("presence")).to_have_text("Online")


def test_a_wrong_password_is_said_so(browser: Browser, product: Product) -> None:
    page = browser.new_page(base_url=product.url)
    page.goto("/devices")
    page.get_by_label("User name").fill("admin")
    page.locator("input[name=password]").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not right")
    page.close()


def test_the_list_shows_this_machine_and_search_finds_it(viewer: Viewer, device_id: str) -> None:
    page = viewer.page
    row = page.locator(f"tr[data-device='{device_id}']")
    expect(row).to_contain_text("Online")
    page.keyboard.press("/")
    page.keyboard.type("no such device")
    expect(page.get_by_text("No device matches")).to_be_visible()
    page.keyboard.press("Escape")
    expect(row).to_be_visible()
    page.get_by_label("Filter by name").press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/devices/{device_id}$"))


def test_the_cpu_chart_moves(viewer: Viewer, device_id: str) -> None:
    page = viewer.page
    open_device(page, device_id)
    plot = page.get_by_role("img", name="Chart of CPU").locator(".plot")
    expect(plot.locator("canvas")).to_be_visible()
    first = int(plot.get_attribute("data-last") or 0)
    page.wait_for_function(
        "([before]) => Number(document.querySelector('[aria-label=\"Chart of CPU\"] .plot').dataset.last) > before",
        arg=[first],
        timeout=15_000,
    )
    expect(page.get_by_test_id("properties").first).to_contain_text("Operating system")
    expect(page.get_by_test_id("states").first).to_contain_text("Uptime")
    expect(page.get_by_text(device_id)).to_be_visible()


def test_a_command_goes_to_acked_with_its_result(viewer: Viewer, device_id: str) -> None:
    page = viewer.page
    open_device(page, device_id)
    page.get_by_role("button", name="Run Top processes").click()
    drawer = page.get_by_role("dialog")
    drawer.get_by_role("button", name="Run Top processes").click()
    expect(drawer.locator("[data-testid=progress][data-state=acked]")).to_be_visible()
    for step in ("Queued", "Delivered to the plugin", "ACCEPTED", "ACKED"):
        expect(drawer.locator(".steps")).to_contain_text(step)
    expect(drawer.get_by_test_id("result").locator("table")).to_contain_text("PID")
    page.keyboard.press("Escape")
    expect(page.locator("#section-commands")).to_contain_text("Top processes")


def test_a_required_field_left_empty_is_not_sent(viewer: Viewer, device_id: str) -> None:
    page = viewer.page
    open_device(page, device_id)
    page.get_by_role("button", name="Run Ping").click()
    drawer = page.get_by_role("dialog")
    drawer.get_by_label("Host").fill("")
    drawer.get_by_role("button", name="Run Ping").click()
    expect(drawer).to_contain_text("Required")
    expect(drawer.get_by_test_id("progress")).to_have_count(0)


def test_the_console_answers_with_output_and_exit_code(viewer: Viewer, device_id: str) -> None:
    page = viewer.page
    open_device(page, device_id)
    line = page.get_by_label("Shell command")
    line.fill("echo towed; echo oops >&2; exit 3")
    line.press("Enter")
    entry = page.get_by_test_id("exec").last
    expect(entry.get_by_test_id("exit")).to_have_text("exit 3")
    expect(entry).to_contain_text("towed")
    expect(entry.locator(".err")).to_contain_text("oops")


def test_the_palette_goes_everywhere(viewer: Viewer, device_id: str) -> None:
    page = viewer.page
    open_device(page, device_id)
    page.keyboard.press("Control+k")
    page.keyboard.type("top proc")
    expect(page.get_by_role("option", name="Top processes")).to_be_visible()  # the page has loaded its commands
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Top processes")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("g")
    page.keyboard.press("d")
    expect(page.get_by_role("heading", name="Devices")).to_be_visible()


def test_an_enrolment_line_is_made(viewer: Viewer) -> None:
    page = viewer.page
    page.get_by_role("button", name="Add a device").click()
    page.get_by_role("button", name="Make the line").click()
    expect(page.get_by_test_id("enrol-command")).to_contain_text("towline agent enrol 'ws")


def test_the_profile_hands_out_the_session_token(viewer: Viewer) -> None:
    page = viewer.page
    page.goto("/profile")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_test_id("session-token")).to_have_text(re.compile(r"^[\w-]+\.[\w-]+\.[\w-]+$"))


@pytest.mark.parametrize("path", ["/plugins", "/access", "/audit"])
def test_every_page_opens(viewer: Viewer, path: str) -> None:
    viewer.page.goto(path)
    expect(viewer.page.locator("table.grid tbody tr").first).to_be_visible()


def test_on_a_phone_nothing_is_wider_than_the_screen(
    browser: Browser, product: Product, session: StorageState, device_id: str
) -> None:
    phone: ViewportSize = {"width": 390, "height": 844}
    context = browser.new_context(
        base_url=product.url, viewport=phone, is_mobile=True, has_touch=True, storage_state=session
    )
    page = context.new_page()
    for path in ("/devices", f"/devices/{device_id}", "/plugins", "/access", "/audit", "/profile"):
        page.goto(path)
        expect(page.locator(".card").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    context.close()


def test_a_lost_connection_is_shown_and_made_good(viewer: Viewer, product: Product, device_id: str) -> None:
    page = viewer.page
    open_device(page, device_id)
    server = product.children()["server"]
    os.kill(server, signal.SIGKILL)
    expect(page.get_by_test_id("lost")).to_be_visible(timeout=20_000)
    expect(page.get_by_test_id("lost")).to_contain_text("nothing acknowledged is lost")
    expect(page.get_by_test_id("restored")).to_be_visible(timeout=40_000)
    expect(page.get_by_test_id("lost")).to_have_count(0)
    expect(page.get_by_test_id("presence")).to_have_text("Online", timeout=30_000)
    plot = page.get_by_role("img", name="Chart of CPU").locator(".plot")
    last = int(plot.get_attribute("data-last") or 0)
    page.wait_for_function(
        "([before]) => Number(document.querySelector('[aria-label=\"Chart of CPU\"] .plot').dataset.last) > before",
        arg=[last],
        timeout=20_000,
    )
