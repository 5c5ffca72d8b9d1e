"""The report on a scored output, in a browser."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from tests.helpers.scoring import IDX, LABELS, score

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("network")]


@pytest.fixture(scope="module", params=["images", "pages"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    report = tmp_path_factory.mktemp("report") / "report.html"
    options: list[str | Path] = ["--output", report.with_name("out.csv"), "--report", report]
    images = ["examples", IDX, "models", "--labels", LABELS]
    pages = ["service/static/samples", "--read"]
    assert score(*(pages if request.param == "pages" else images), *options).returncode == 0
    return report


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_accessibility_without_requests(browser: Browser, report: Path, scheme: str, width: int) -> None:
    """axe's WCAG rules, no horizontal overflow and no request but for the page."""
    # The page's policy blocks all scripts, axe's too.
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)  # type: ignore[arg-type]
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url))
    page.goto(report.as_uri())
    results = Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    )
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(image => image.naturalWidth)")
    assert asked == [report.as_uri()]
    page.close()
