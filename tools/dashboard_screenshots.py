"""Photograph the dashboard's pages: light and dark, on a desktop and on a phone.

    python tools/dashboard_screenshots.py --store <folder> --out <folder>            # a store that has a forecast
    python tools/dashboard_screenshots.py --store <folder> --out <folder> --item A   # which item's pages

It starts a server of its own on a free port of loopback, and ends it. Look at the pictures after a change of the pages: what is
cut off, what can't be read, and what a keyboard's focus looks like (`*-focus.png`). Needs Chromium and the test dependencies.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError

PAGES = ("overview", "items", "item", "what-if", "models")
# Widths and heights of the window: the height is that of the whole page, which scrolls inside.
SIZES = {"desktop": (1280, 2000), "phone": (390, 3600)}
START_SECONDS = 120


def main() -> int:
    """Take the pictures, and name them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--item", default="", help="of the pages about one; the first of the list if not given")
    parser.add_argument("--pages", nargs="+", choices=PAGES, default=PAGES)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with served(given.store) as url, sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for scheme in ("light", "dark"):
            for size, (width, height) in SIZES.items():
                page = opened(browser, scheme, width, height)
                item = given.item or first_item(page, url)
                for name in given.pages:
                    query = f"?item={urllib.parse.quote(item)}" if name in ("item", "what-if") else ""
                    visit(page, f"{url}/{'' if name == 'overview' else name}{query}")
                    file = given.out / f"{name}-{scheme}-{size}.png"
                    page.screenshot(path=file)
                    print(file)
                    if (scheme, size) == ("light", "desktop"):
                        for _ in range(8):
                            page.keyboard.press("Tab")
                        page.screenshot(path=given.out / f"{name}-focus.png")
                page.context.close()
        browser.close()
    return 0


@contextmanager
def served(store: Path) -> Iterator[str]:
    """The address of a dashboard's server of a store, which ends with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "chronos_assets.dashboard.server", "--port", str(port)]
    environment = {**os.environ, "CHRONOS_STORE": str(store.resolve()), "CHRONOS_DASHBOARD_DECISIONS": "yes"}
    server = subprocess.Popen(command, env=environment)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def opened(browser: Browser, scheme: str, width: int, height: int) -> Page:
    """A window of its own: with a colour scheme, as wide as a screen."""
    dark = scheme == "dark"
    context = browser.new_context(
        color_scheme="dark" if dark else "light", viewport={"width": width, "height": height}, has_touch=width < 500
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    return page


def first_item(page: Page, url: str) -> str:
    """The item that the box of the page Item offers first."""
    visit(page, f"{url}/item")
    page.get_by_role("combobox", name="Item", exact=True).click()
    return page.get_by_role("option").first.inner_text().partition(" / ")[0]


def visit(page: Page, address: str) -> None:
    """Open a page, and wait until it is whole."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            page.goto(address)
            break
        except PlaywrightError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
    page.locator("h1").first.wait_for()
    page.wait_for_function("!document.querySelector('[data-testid=stStatusWidget]')")
    page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')")
    page.wait_for_timeout(1500)  # charts are drawn after the script has ended


if __name__ == "__main__":
    raise SystemExit(main())
