"""Window sizes of the browser, drawing on the page with its mouse, and what every page must satisfy."""

from collections.abc import Iterable, Sequence

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

SIZES = {"wide": (1280, 900), "phone": (390, 844)}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def draw_strokes(page: Page, strokes: Iterable[Iterable[Sequence[float]]], steps: int = 5) -> None:
    """Draws strokes of points, in parts of the canvas's width and height, in so many steps from point to point."""
    page.locator("#paper").scroll_into_view_if_needed()
    box = page.locator("#paper").bounding_box()
    assert box
    for stroke in strokes:
        first, *others = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in stroke]
        page.mouse.move(*first)
        page.mouse.down()
        for point in others:
            page.mouse.move(*point, steps=steps)
        page.mouse.up()


def assert_accessible(page: Page) -> None:
    """axe's WCAG rules, and no horizontal overflow."""
    results = Axe().run(page, options={"runOnly": RULES})
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
