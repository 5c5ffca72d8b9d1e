import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from flask.testing import FlaskClient

from service.routes.pages import POLICY
from tests.helpers.client import TYPES, get
from tests.helpers.paths import EXAMPLES, ROOT
from tests.helpers.processes import environment
from tests.helpers.service import serving

FILES = sorted(path.name for path in (ROOT / "service" / "static" / "docs").iterdir())


class Page(HTMLParser):
    """Links, ids and commands of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.commands: list[str] = []
        self.in_code = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.in_code = tag == "code"
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("href", "src"):
                self.links.append(value or "")

    def handle_data(self, data: str) -> None:
        if self.in_code and data.startswith("curl "):
            self.commands.append(data)
        self.in_code = False


@pytest.fixture
def page(client: FlaskClient) -> Page:
    return Page(get(client, "/docs").text)


def test_page_shows_every_call_and_every_type(client: FlaskClient) -> None:
    response = get(client, "/docs")
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    document: dict[str, Any] = get(client, "/openapi.json").json or {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert f'<span class="method">{method.upper()}</span> <code>{path}</code>' in response.text
            assert f'<details id="{operation["operationId"]}"' in response.text
    for name in document["components"]["schemas"]:
        assert f'<h3 id="{name}">{name}</h3>' in response.text


def test_links_resolve(page: Page, client: FlaskClient) -> None:
    assert [one for one, count in Counter(page.ids).items() if count > 1] == []
    for link in page.links:
        assert link[1:] in page.ids if link.startswith("#") else get(client, urljoin("/docs", link)).status_code == 200


def test_pages_link_to_each_other(page: Page, client: FlaskClient) -> None:
    assert "./" in page.links
    assert "docs" in Page(get(client, "/").text).links


def test_content_security_policy(client: FlaskClient) -> None:
    response = get(client, "/docs")
    assert response.headers["Content-Security-Policy"] == POLICY
    assert not re.search(r"<style| style=|<script(?! type=\"module\" src=)| on\w+=", response.text)
    for path in ("/docs", *(f"/docs/{name}" for name in FILES)):
        assert set(re.findall(r"https?://[^\"'/ )]*", get(client, path).text)) <= {"http://localhost:8000"}


@pytest.mark.parametrize("name", FILES)
def test_static_file(name: str, client: FlaskClient, page: Page) -> None:
    assert f"docs/{name}" in page.links
    response = get(client, f"/docs/{name}")
    assert response.mimetype == TYPES[Path(name).suffix]
    again = get(client, f"/docs/{name}", headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as (port, _):
        yield port


def test_shown_commands_work(port: int, page: Page) -> None:
    assert shutil.which("curl")
    assert len(page.commands) > 30
    for command in page.commands:
        run = command.replace(":8000", f":{port}").replace(" --output -", "")
        run = run.replace("curl ", "curl --silent --output /dev/null --write-out '%{http_code}' ")
        result = subprocess.run(
            ["bash", "-c", run], cwd=EXAMPLES, env=environment(), capture_output=True, text=True, check=False
        )
        expected = "501" if command.endswith("/load") else "200"
        assert (result.returncode, result.stdout) == (0, expected), command
