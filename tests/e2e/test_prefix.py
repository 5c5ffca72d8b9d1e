"""The pages below a path of Debian's nginx, in a real browser."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.helpers.paths import EXAMPLES
from tests.helpers.processes import free_port
from tests.helpers.service import serving, wait_until_ready

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("network")]

# The service's settings, and how nginx passes requests on: without the prefix, which a header names, or with it.
WAYS = {
    "X-Forwarded-Prefix": (
        {"DIGITS_TRUSTED_PROXIES": "1"},
        "proxy_pass http://127.0.0.1:%d/; proxy_set_header X-Forwarded-Prefix /digits;",
    ),
    "SCRIPT_NAME": ({"SCRIPT_NAME": "/digits"}, "proxy_pass http://127.0.0.1:%d;"),
}
CONFIGURATION = """
user root;
pid %(folder)s/pid;
error_log %(folder)s/error.log;
events {}
http {
  access_log off;
  client_body_temp_path %(folder)s/body;
  proxy_temp_path %(folder)s/proxy;
  fastcgi_temp_path %(folder)s/fastcgi;
  uwsgi_temp_path %(folder)s/uwsgi;
  scgi_temp_path %(folder)s/scgi;
  client_max_body_size 32m;
  server {
    listen 127.0.0.1:%(port)d;
    location /digits/ { %(location)s }
  }
}
"""


@pytest.fixture(params=WAYS)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of the page behind nginx."""
    if not (program := shutil.which("nginx", path="/usr/sbin:/usr/bin")):
        pytest.skip("needs nginx: apt install nginx")
    settings, location = WAYS[request.param]
    port, file = free_port(), tmp_path / "nginx.conf"
    with serving(None, None, **settings) as (upstream, _):
        values = {"folder": tmp_path, "port": port, "location": location % upstream}
        file.write_text(CONFIGURATION % values)
        process = subprocess.Popen([program, "-c", file, "-e", tmp_path / "error.log", "-g", "daemon off;"])
        try:
            wait_until_ready(port, "/digits")
            yield f"http://localhost:{port}/digits/"
        finally:
            process.terminate()
            process.wait(timeout=30)


def test_pages_below_a_prefix(home: str, context: BrowserContext) -> None:
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda one: None if one.url.startswith((home, "blob:")) else faults.append(one.url))
    page.on("response", lambda one: faults.append(f"{one.status} {one.url}") if one.status >= 400 else None)
    page.goto(home)
    page.locator("#file").set_input_files(EXAMPLES / "3.png")
    expect(page.locator("#digit")).to_have_text("3")
    expect(page.locator("#layers canvas").first).to_be_visible()
    expect(page.locator("#snippets code").first).to_contain_text(f"{home}predict")
    page.get_by_role("navigation").get_by_role("link", name="The API").click()
    expect(page).to_have_url(f"{home}docs")
    call = page.locator("#post_predict")
    expect(call.locator(".sample code").first).to_have_text(f"curl --data-binary @3.png {home}predict")
    call.locator("input[type=file]").set_input_files(EXAMPLES / "3.png")
    call.get_by_role("button", name="Send").click()
    expect(call.locator(".result")).to_contain_text("200 OK")
    page.get_by_role("link", name="OpenAPI document").click()
    document = json.loads(page.locator("pre").inner_text())
    assert document["servers"] == [{"url": "/digits/"}]
    page.go_back()
    page.get_by_role("link", name="Draw digits").click()
    expect(page).to_have_url(home)
    assert faults == []
