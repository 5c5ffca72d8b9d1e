"""The API page in a real browser."""

import json
import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.helpers.browser import SIZES, assert_accessible
from tests.helpers.paths import EXAMPLES

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("network")]


@pytest.fixture
def page(page: Page) -> Page:
    """The API page, reached from the drawing page."""
    page.get_by_role("navigation").get_by_role("link", name="The API").click()
    expect(page.locator("h1")).to_have_text("digits: the API")
    return page


def test_try_a_call_with_a_file(page: Page) -> None:
    call = page.locator("#post_predict")
    call.locator("input[name=show]").fill("image")
    call.locator("input[type=file]").set_input_files(EXAMPLES / "3.png")
    call.get_by_role("button", name="Send").click()
    expect(call.locator(".result")).to_contain_text("200 OK, application/json")
    body = call.locator(".result").inner_text().split("\n\n", 1)[1]
    assert json.loads(body)["digit"] == 3
    assert len(json.loads(body)["image"]) > 1000


def test_try_calls_with_files_and_a_path(page: Page) -> None:
    page.get_by_role("navigation", name="Endpoints").get_by_role("link", name="/predict/batch").click()
    call = page.locator("#post_predict_batch")
    expect(call).to_have_attribute("open", "")
    call.locator("input[type=file]").set_input_files([EXAMPLES / "1.png", EXAMPLES / "2.png"])
    call.get_by_role("button", name="Send").click()
    expect(call.locator(".result")).to_contain_text("200 OK")
    answer = json.loads(call.locator(".result").inner_text().split("\n\n", 1)[1])
    assert [one["digit"] for one in answer["predictions"]] == [1, 2]
    page.goto(re.sub("#.*", "", page.url) + "#get_v2_models_name_")
    call = page.locator("#get_v2_models_name_")
    expect(call.locator("input[name=name]")).to_have_value("digits-image")
    call.get_by_role("button", name="Send").click()
    expect(call.locator(".result")).to_contain_text('"platform": "digits_image"')


def test_error_is_shown(page: Page, browser_errors: list[str]) -> None:
    call = page.locator("#post_predict")
    call.get_by_role("button", name="Send").click()
    expect(call.locator(".result")).to_contain_text("got no bytes")
    assert all("400" in one for one in browser_errors)  # the browser logs every error response
    browser_errors.clear()


def test_commands_use_the_pages_host(page: Page) -> None:
    home = re.sub("/docs.*", "", page.url)
    expect(page.locator("#post_predict .sample code").first).to_have_text(f"curl --data-binary @3.png {home}/predict")


@pytest.mark.parametrize("width", [1200, 800, 390])
def test_call_list_breaks_no_word(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    broken, words = page.evaluate(
        """() => {
            const broken = [];
            let words = 0;
            for (const link of document.querySelectorAll(".calls a")) {
                const texts = document.createTreeWalker(link, NodeFilter.SHOW_TEXT);
                while (texts.nextNode()) {
                    for (const word of texts.currentNode.data.matchAll(/[^\\s/]+/g)) {
                        const range = document.createRange();
                        range.setStart(texts.currentNode, word.index);
                        range.setEnd(texts.currentNode, word.index + word[0].length);
                        words += 1;
                        if (range.getClientRects().length > 1) broken.push(word[0]);
                    }
                }
            }
            return [broken, words];
        }"""
    )
    assert words > 50
    assert broken == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_accessibility(browser: Browser, port: int, scheme: str, size: str) -> None:
    """axe's WCAG rules with every call open, and no horizontal overflow."""
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"http://localhost:{port}/docs")
    page.evaluate("for (const call of document.querySelectorAll('details')) call.open = true")
    assert_accessible(page)
    page.close()
