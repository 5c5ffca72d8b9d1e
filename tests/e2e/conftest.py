"""Debian's Chromium, driven by Playwright, and the service that it loads.

These tests are in one group with the containers', `network`: when a container starts or ends, the machine's network
changes, and Chromium fails what it is loading (ERR_NETWORK_CHANGED).
"""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.helpers.service import serving

# The sandbox does not work as root; the other flags stop Chromium from contacting its vendor.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("needs Chromium: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as (port, _):
        yield port


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    yield context
    context.close()


@pytest.fixture
def browser_errors() -> list[str]:
    """Console messages and requests to other hosts."""
    return []


@pytest.fixture
def page(context: BrowserContext, port: int, browser_errors: list[str]) -> Iterator[Page]:
    """The page with an empty canvas, once it has shown that it works."""
    page = context.new_page()
    page.on("console", lambda message: browser_errors.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: browser_errors.append(str(error)))
    home = f"http://localhost:{port}"
    page.on("request", lambda one: None if one.url.startswith((home, "blob:")) else browser_errors.append(one.url))
    page.goto(f"{home}/")
    expect(page.locator("#verdict")).to_contain_text("confidence")  # in the first sample
    page.click("#clear")
    yield page
    assert browser_errors == []
