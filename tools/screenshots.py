# SPDX-License-Identifier: Apache-2.0
"""Make the pictures of README and docs from a running Towline, with a real browser.

    python tools/screenshots.py --url http://127.0.0.1:8080 --password … [--device NAME] [--out docs/images]

The password may also come from the environment, TOWLINE_PASSWORD. Needs playwright and a Chromium on PATH.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

DESKTOP: ViewportSize = {"width": 1400, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


class Studio:
    """One browser, one signed-in viewer, several cameras."""

    def __init__(self, browser: Browser, options: argparse.Namespace) -> None:
        self._browser = browser
        self._url: str = options.url
        self._out: Path = options.out
        self._device: str | None = options.device
        self._range: str = options.range
        context = browser.new_context(base_url=self._url)
        page = context.new_page()
        page.goto("/")
        page.get_by_label("User name").fill(options.user)
        page.locator("input[name=password]").fill(options.password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Devices")).to_be_visible(timeout=15_000)
        page.evaluate("range => localStorage.setItem('towline-range', range)", self._range)
        self._session = context.storage_state()
        context.close()

    def page(self, *, dark: bool, phone: bool = False) -> Page:
        context = self._browser.new_context(
            base_url=self._url,
            viewport=PHONE if phone else DESKTOP,
            device_scale_factor=2 if phone else 1,
            is_mobile=phone,
            has_touch=phone,
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            storage_state=self._session,
        )
        page = context.new_page()
        page.goto("/devices")
        expect(page.locator("[data-row]:visible").first).to_be_visible(timeout=15_000)
        return page

    def open_device(self, page: Page) -> None:
        rows = page.locator("[data-row]:visible")
        (rows.filter(has_text=self._device) if self._device else rows).first.click()
        expect(page.locator(".plot canvas").first).to_be_visible(timeout=15_000)
        page.wait_for_timeout(2500)  # the first second of drawing, and a live point

    def keep(self, page: Page, name: str) -> None:
        path = self._out / f"{name}.png"
        page.screenshot(path=path)
        page.context.close()
        print(f"{path} ({path.stat().st_size // 1024} KiB)")


def take(studio: Studio) -> None:
    """All pictures, one after the other."""
    page = studio.page(dark=False)
    page.wait_for_timeout(500)
    studio.keep(page, "devices")

    for dark in (False, True):
        page = studio.page(dark=dark)
        studio.open_device(page)
        studio.keep(page, "device-dark" if dark else "device-light")

    page = studio.page(dark=True)
    studio.open_device(page)
    hello = page.get_by_role("button", name="Run Say Hello")
    command = "Run Say Hello" if hello.count() else "Run Top processes"
    page.get_by_role("button", name=command).first.evaluate("button => button.click()")  # without scrolling to it
    drawer = page.get_by_role("dialog")
    drawer.get_by_role("button", name=command).click()
    expect(drawer.locator("[data-testid=progress][data-state=acked]")).to_be_visible(timeout=20_000)
    page.wait_for_timeout(400)
    studio.keep(page, "command")

    page = studio.page(dark=True)
    studio.open_device(page)
    line = page.get_by_label("Shell command")
    for command in ("uptime", "df -h /", "uname -srm"):
        line.fill(command)
        line.press("Enter")
        expect(page.get_by_test_id("exit").last).to_be_visible(timeout=15_000)
        expect(line).to_be_focused()
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_timeout(600)
    studio.keep(page, "console")

    page = studio.page(dark=False)
    page.goto("/gateway")
    expect(page.get_by_test_id("nodes")).to_be_visible(timeout=15_000)
    page.wait_for_timeout(60_000)  # a minute of rates
    studio.keep(page, "gateway")

    page = studio.page(dark=False, phone=True)
    studio.open_device(page)
    studio.keep(page, "phone")


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit status 2 when something needed is missing."""
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password", default=os.environ.get("TOWLINE_PASSWORD", ""))
    parser.add_argument("--device", help="name of the device to show; the first one otherwise")
    parser.add_argument("--range", default="5m", choices=["5m", "15m", "1h", "6h", "24h"], help="window of the charts")
    parser.add_argument("--out", type=Path, default=root / "docs" / "images")
    options = parser.parse_args(arguments)
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        print("no browser found: install the package chromium", file=sys.stderr)
        return 2
    if not options.password:
        print("give --password, or TOWLINE_PASSWORD in the environment", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            take(Studio(browser, options))
        finally:
            browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
