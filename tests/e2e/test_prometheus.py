"""Metrics, dashboard and alerts with Debian's Prometheus."""

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.images import example
from tests.helpers.paths import ROOT
from tests.helpers.processes import free_port, wait_for
from tests.helpers.service import request, serving

pytestmark = [pytest.mark.prometheus, pytest.mark.xdist_group("prometheus")]

DASHBOARD = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text(encoding="utf-8"))
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(DIGITS_WORKERS="2") as (port, _):
        yield port


def ask(port: int, path: str, **parameters: str) -> Any:
    url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=30) as response:
        return json.loads(response.read())["data"]


@pytest.fixture(scope="module")
def prometheus(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Prometheus that has scraped the busy service for some seconds."""
    directory = tmp_path_factory.mktemp("prometheus")
    targets = [{"targets": [f"127.0.0.1:{port}"]}]
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "digits", "static_configs": targets}],
    }
    (directory / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
    own_port = free_port()
    command = [
        "prometheus",
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{own_port}",
    ]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)

    def scraped() -> bool:
        try:
            return len(ask(own_port, "query", query="digits_requests_total[1m]")["result"]) > 0
        except OSError:
            assert process.poll() is None, (directory / "log").read_text()
            return False

    try:
        request(port, "POST", "/predict", example(7))
        wait_for(scraped, 60)
        for _ in range(6):
            request(port, "POST", "/predict", example(7))
            request(port, "POST", "/predict", b"no image")
            time.sleep(1)
        yield own_port
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.parametrize("name", QUERIES)
def test_every_dashboard_panel_has_data(name: str, prometheus: int) -> None:
    query = QUERIES[name].replace("$job", "digits").replace("$__rate_interval", "10s")
    assert "$" not in query
    result = ask(prometheus, "query", query=query)["result"]
    assert result, query
    assert any(float(one["value"][1]) >= 0 for one in result), result  # false for NaN


def test_scraped_totals_match_the_requests(port: int, prometheus: int) -> None:
    query = 'sum(digits_requests_total{route="/predict",status="400"})'
    wait_for(lambda: float(ask(prometheus, "query", query=query)["result"][0]["value"][1]) == 6)


def test_metric_names_and_types_pass_promtool(port: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response:
        text = response.read()
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert result.stdout + result.stderr == b""
    assert result.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "config", "--lint=all", "--lint-fatal", "deploy/prometheus/prometheus.yml"],
        ["test", "rules", "tests/e2e/rules.yml"],
    ],
)
def test_configuration_and_alerts(arguments: list[str]) -> None:
    result = subprocess.run(["promtool", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout + result.stderr
