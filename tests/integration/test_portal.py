# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser against the whole product: what a person sees and does in the first minutes."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, StorageState, ViewportSize, expect, sync_playwright

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


@pytest.fixture
def visitor(browser: Browser, product: Product) -> Iterator[Page]:
    """A page of somebody who has still to sign in."""
    size: ViewportSize = {"width": 1400, "height": 900}
    context = browser.new_context(base_url=product.url, viewport=size)
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


def sign_in(page: Page, product: Product) -> None:
    page.goto("/")
    fill_in(page, "admin", product.password)
    expect(page.get_by_role("heading", name="Devices")).to_be_visible()


def fill_in(page: Page, user: str, password: str) -> None:
    page.get_by_label("User name").fill(user)
    page.locator("input[name=password]").fill(password)
    page.get_by_role("button", name="Sign in").click()


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Account").click()
    page.get_by_role("menuitem", name="Sign out").click()


def expect_signed_out(page: Page) -> None:
    expect(page.get_by_role("heading", name="Sign in to Towline")).to_be_visible()
    expect(page.get_by_role("navigation")).to_have_count(0)
    expect(page.get_by_text("Your session has ended")).to_have_count(0)


def go_to(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).first.click()


def run_in_console(page: Page, command: str) -> Locator:
    """The console's entry of a command."""
    line = page.get_by_label("Shell command")
    line.fill(command)
    line.press("Enter")
    return page.get_by_test_id("exec").filter(has_text=command)


def open_device(page: Page, device_id: str) -> None:
    page.locator(f"tr[data-device='{device_id}']").click()
    expect(page.get_by_test_id("presence")).to_have_text("Online")


def run_top_processes(page: Page, device_id: str) -> Locator:
    """The drawer of the command, which has ended."""
    open_device(page, device_id)
    page.get_by_role("button", name="Run Top processes").click()
    drawer = page.get_by_role("dialog")
    drawer.get_by_role("button", name="Run Top processes").click()
    expect(drawer.locator("[data-testid=progress][data-state=acked]")).to_be_visible()
    return drawer


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
    drawer = run_top_processes(page, device_id)
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


def test_a_console_command_goes_on_while_its_page_is_left(viewer: Viewer, device_id: str) -> None:
    page = viewer.page
    open_device(page, device_id)
    run_in_console(page, "sleep 2; echo outli''ved")
    go_to(page, "Plugins")
    expect(page.get_by_role("heading", name="Plugins")).to_be_visible()
    page.go_back()
    entry = page.get_by_test_id("exec")
    expect(entry.locator("pre")).to_have_text("outlived")
    expect(entry.get_by_test_id("exit")).to_have_text("exit 0")
    run_in_console(page, "sleep 40")
    go_to(page, "Plugins")
    expect(page.get_by_role("heading", name="Plugins")).to_be_visible()
    page.go_back()
    page.get_by_role("button", name="Stop waiting").click()
    expect(page.get_by_test_id("exec").last.locator(".err")).to_contain_text("Stopped waiting")
    expect(run_in_console(page, "exit 7").get_by_test_id("exit")).to_have_text("exit 7")


def test_a_console_command_without_an_answer_may_have_run(viewer: Viewer, device_id: str) -> None:
    page = viewer.page
    open_device(page, device_id)
    page.route("**/exec", lambda route: route.abort())
    expect(run_in_console(page, "echo x").locator(".err")).to_contain_text("not known whether the command ran")
    page.route("**/exec", lambda route: route.fulfill(status=502, body="bad gateway"))
    expect(run_in_console(page, "echo y").locator(".err")).to_contain_text("not known whether the command ran")
    ended = {"stdout": "", "stderr": "", "return_code": -1, "reason": "hub_died", "message": "", "correlation_id": "1"}
    page.route("**/exec", lambda route: route.fulfill(json=ended))
    expect(run_in_console(page, "echo z").locator(".err")).to_contain_text("is gone")


def test_an_event_of_unknown_time_is_shown(viewer: Viewer, device_id: str) -> None:
    page = viewer.page
    event = {"message_id": "1", "time": None, "table": "t", "source": "s", "name": "door-opened", "value": "west"}
    page.route("**/events?*", lambda route: route.fulfill(json={"events": [event], "next": None}))
    open_device(page, device_id)
    row = page.locator("#section-events tbody tr")
    expect(row).to_contain_text("door-opened")
    expect(row.locator("td.when")).to_have_text("—")


def test_long_names_leave_room_for_values(viewer: Viewer, device_id: str) -> None:
    page = viewer.page
    drawer = run_top_processes(page, device_id)
    long = "an_identifier_without_spaces_" * 5

    def rename(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        for plugin in told["plugins"]:
            for module in plugin["modules"]:
                for each in [*module.get("properties", []), *module.get("states", [])]:
                    each["displayName"] = long
        route.fulfill(response=answer, json=told)

    def result(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"result": {long: "a value of some length", "b": 1}})

    page.route("**/devices/*/plugins", rename)
    page.route("**/commands/*", result)
    page.reload()
    labels = page.get_by_test_id("states").locator("dt:not(.wide)")
    expect(labels.filter(has_text=long).first).to_be_visible()
    page.locator("#section-commands tr", has_text="Top processes").first.click()
    expect(drawer.get_by_test_id("result")).to_contain_text("a value of some length")
    crushed = page.evaluate(
        """() => [...document.querySelectorAll("dl.facts > dt:not(.wide)")].filter((label) => {
          const value = label.nextElementSibling;
          return label.scrollWidth > label.clientWidth || value.clientWidth < label.parentElement.clientWidth * 0.5;
        }).map((label) => `${label.textContent} ${label.scrollWidth}/${label.clientWidth}`)"""
    )
    assert crushed == []


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


@pytest.mark.parametrize("path", ["/devices", "/devices/{id}", "/plugins", "/access"])
def test_signing_out_shows_the_sign_in_page(visitor: Page, product: Product, device_id: str, path: str) -> None:
    sign_in(visitor, product)
    visitor.goto(path.format(id=device_id))
    expect(visitor.locator(".card").first).to_be_visible()
    sign_out(visitor)
    expect_signed_out(visitor)
    visitor.reload()
    expect_signed_out(visitor)


def test_the_profile_signs_out_and_somebody_else_signs_in(visitor: Page, product: Product) -> None:
    sign_in(visitor, product)
    go_to(visitor, "Devices")
    sign_out(visitor)
    expect_signed_out(visitor)
    fill_in(visitor, "admin", product.password)
    expect(visitor.get_by_role("heading", name="Devices")).to_be_visible()
    visitor.keyboard.press("g")
    visitor.keyboard.press("u")
    visitor.get_by_role("main").get_by_role("button", name="Sign out").click()
    expect_signed_out(visitor)


@pytest.mark.parametrize("how", ["signed out", "ended elsewhere", "replaced elsewhere"])
def test_what_one_user_typed_is_not_shown_to_the_next(
    visitor: Page, product: Product, device_id: str, how: str
) -> None:
    page = visitor
    name, password = f"guest-{how.replace(' ', '-')}", "a password for guests"
    with product.client() as client:
        other = {"name": name, "password": password, "privileges": ["owner"]}
        client.post("/users", json=other).raise_for_status()
    sign_in(page, product)
    open_device(page, device_id)
    expect(run_in_console(page, "echo secret")).to_contain_text("exit 0")
    page.get_by_role("button", name="Run Ping").click()
    page.get_by_role("dialog").get_by_label("Host").fill("secret.example")
    page.keyboard.press("Escape")
    go_to(page, "Gateway")
    page.get_by_role("button", name="Console").click()
    page.get_by_role("textbox", name="Message").fill("secret message")
    page.get_by_role("textbox", name="Channel").fill("secret-channel")
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.get_by_test_id("sent")).to_have_count(1)
    if how == "signed out":
        sign_out(page)
        fill_in(page, name, password)
    elif how == "ended elsewhere":
        page.evaluate("fetch('/api/towline/v1/session', {method: 'DELETE'})")
        fill_in(page, name, password)
    else:  # another tab signs in as somebody else, and the session of this one ends: it finds the other's
        api = f"{product.url}/api/towline/v1/session"
        old = page.evaluate("fetch('/api/towline/v1/session').then((answer) => answer.json())")["token"]
        who = {"user": name, "password": password}
        page.context.request.post(api, data=who, headers={"Origin": product.url})
        httpx.delete(api, headers={"Authorization": f"Bearer {old}"}).raise_for_status()
    expect(page.get_by_role("button", name="Account")).to_have_text(f"G{how[0].upper()}")
    go_to(page, "Gateway")
    page.get_by_role("button", name="Console").click()
    expect(page.get_by_role("textbox", name="Channel")).to_have_value("")
    expect(page.get_by_role("textbox", name="Message")).to_have_value("")
    expect(page.get_by_test_id("sent")).to_have_count(0)
    go_to(page, "Devices")
    open_device(page, device_id)
    expect(page.get_by_label("Shell command")).to_be_enabled()
    expect(page.get_by_test_id("exec")).to_have_count(0)
    page.get_by_role("button", name="Run Ping").click()
    expect(page.get_by_role("dialog").get_by_label("Host")).not_to_have_value("secret.example")


def test_on_a_phone_nothing_is_wider_than_the_screen(
    browser: Browser, product: Product, session: StorageState, device_id: str
) -> None:
    with product.client() as client:
        token = {"name": "for a phone", "privileges": ["read"], "ttl_days": 30}
        client.post("/tokens", json=token).raise_for_status()
    phone: ViewportSize = {"width": 390, "height": 844}
    context = browser.new_context(
        base_url=product.url, viewport=phone, is_mobile=True, has_touch=True, storage_state=session
    )
    page = context.new_page()
    for path in ("/devices", f"/devices/{device_id}", "/plugins", "/access", "/audit", "/profile"):
        page.goto(path)
        expect(page.locator(".card").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        hidden = "[...document.querySelectorAll('.tablewrap')].filter((each) => each.scrollWidth > each.clientWidth)"
        assert page.evaluate(f"{hidden}.length") == 0, path
        cut = "[...document.querySelectorAll('table.grid td')].filter((each) => each.scrollHeight > each.clientHeight + 2)"
        assert page.evaluate(f"{cut}.length") == 0, path
    page.goto("/devices")
    page.get_by_role("button", name="Add a device").click()
    page.get_by_role("button", name="Make the line").click()
    label = page.get_by_role("button", name="Make another line").locator(".mantine-Button-label")
    assert label.evaluate("(each) => each.scrollWidth <= each.clientWidth")
    page.goto("/api/towline/v1/docs")
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert "`" not in page.locator("body").inner_text()
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


def test_a_silent_server_is_told_within_the_promise(viewer: Viewer, product: Product, device_id: str) -> None:
    page = viewer.page
    open_device(page, device_id)
    server = product.children()["server"]
    os.kill(server, signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        expect(page.get_by_test_id("lost")).to_be_visible(timeout=20_000)
        took = time.monotonic() - stopped
        said = re.search(r"for (\d+) s", page.get_by_test_id("lost").inner_text())
        assert said
        assert int(said[1]) >= int(took) - 1  # counted from when the server was last heard, not from when it was missed
    finally:
        os.kill(server, signal.SIGCONT)
    expect(page.get_by_test_id("restored")).to_be_visible(timeout=40_000)
