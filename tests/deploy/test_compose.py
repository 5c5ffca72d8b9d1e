"""compose.yaml: published ports, security options, and that the files and names it refers to exist."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient

from service.settings import Settings
from tests.helpers.docker import docker
from tests.helpers.images import example
from tests.helpers.paths import ROOT
from tests.helpers.processes import PORT_8000, wait_for
from tests.helpers.service import request, wait_until_ready

FILE = ROOT / "compose.yaml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
DEPLOY = ROOT / "deploy"


def load(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text(encoding="utf-8"))


def mounts(service: str) -> Iterator[tuple[str, str]]:
    """Pairs of source and target for files mounted from this repository."""
    for one in SERVICES[service].get("volumes", []):
        source, target, *options = one.split(":")
        if source.startswith("./"):
            assert options == ["ro"]
            yield source, target


def test_only_the_service_is_published_beyond_localhost() -> None:
    assert SERVICES["digits"]["ports"] == [f"{Settings().port}:{Settings().port}"]
    assert SERVICES["prometheus"]["ports"] == ["127.0.0.1:9090:9090"]
    assert SERVICES["grafana"]["ports"] == ["127.0.0.1:3000:3000"]


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_locked_down_and_limited(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "mem_limit", "pids_limit", "logging"} <= service.keys()
    assert not {"privileged", "network_mode", "cap_add", "user"} & service.keys()


def test_images_are_pinned_and_there_is_no_password() -> None:
    for name in ("prometheus", "grafana"):
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", SERVICES[name]["image"])
    assert "password" not in re.sub(r"#.*", "", FILE.read_text(encoding="utf-8")).lower()
    grafana = SERVICES["grafana"]["environment"]
    assert grafana["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


def test_prometheus_scrapes_existing_metrics(client: FlaskClient) -> None:
    assert dict(mounts("prometheus")) == {"./deploy/prometheus": "/etc/prometheus"}
    assert "--config.file=/etc/prometheus/prometheus.yml" in SERVICES["prometheus"]["command"]
    configuration = load("prometheus/prometheus.yml")
    [job] = configuration["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"digits:{Settings().port}"]}]
    [rules] = [load(f"prometheus/{name}") for name in configuration["rule_files"]]
    metrics = client.get(job.get("metrics_path", "/metrics")).text
    for rule in rules["groups"][0]["rules"]:
        assert f'job="{job["job_name"]}"' in rule["expr"]
        for metric in re.findall(r"digits_\w+", rule["expr"]):
            assert f"# HELP {metric.removesuffix('_total')}" in metrics


def test_grafana_finds_dashboard_and_data_source() -> None:
    mounted = {target: source for source, target in mounts("grafana")}
    assert mounted["/etc/grafana/provisioning"] == "./deploy/grafana"
    [provider] = load("grafana/dashboards/digits.yaml")["providers"]
    [file] = [target for target in mounted if target.startswith(provider["options"]["path"] + "/")]
    dashboard = json.loads((ROOT / mounted[file]).read_text(encoding="utf-8"))
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == file
    [source] = load("grafana/datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    # The dashboard offers all sources of one type and preselects the default one.
    [variable] = [one for one in dashboard["templating"]["list"] if one["type"] == "datasource"]
    assert (variable["query"], source["isDefault"]) == (source["type"], True)
    used = set(re.findall(r'"uid": "([^"]+)"', json.dumps(dashboard))) - {dashboard["uid"]}
    assert used == {f"${{{variable['name']}}}"}
    assert source["jsonData"]["timeInterval"] == load("prometheus/prometheus.yml")["global"]["scrape_interval"]


def compose() -> list[str]:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return ["docker", "compose"] if plugin.returncode == 0 else ["docker-compose"]


@pytest.fixture(scope="module")
def running(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The service and Prometheus; Debian's Prometheus in the service's image replaces the official image."""
    program = shutil.which("prometheus")
    assert program
    prometheus = {"image": image, "user": "0:0", "entrypoint": [program], "volumes": [f"{program}:{program}:ro"]}
    override = tmp_path_factory.mktemp("compose") / "override.yaml"
    override.write_text(json.dumps({"services": {"digits": {"image": image}, "prometheus": prometheus}}))
    command = [*compose(), "--project-name", "digits-test", "--file", str(FILE), "--file", str(override)]
    up = [*command, "up", "--detach", "--no-build", "digits", "prometheus"]
    with PORT_8000:
        try:
            subprocess.run(up, check=True, capture_output=True, text=True)
            yield command
        finally:
            subprocess.run([*command, "down", "--volumes"], check=True, capture_output=True)


@pytest.mark.container
@pytest.mark.xdist_group("network")
def test_compose_accepts_the_file() -> None:
    command = [*compose(), "--file", str(FILE), "config", "--quiet"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.container
@pytest.mark.xdist_group("network")
def test_start_scrape_and_stop(running: list[str]) -> None:
    wait_until_ready(8000)
    assert request(8000, "POST", "/predict", example(7))[2]["digit"] == 7

    def targets() -> list[dict[str, Any]]:
        answer: Any = request(9090, "GET", "/api/v1/targets")[2]
        return answer["data"]["activeTargets"]

    def scraped() -> bool:
        try:
            return [one["health"] for one in targets()] == ["up"]
        except OSError:
            return False

    wait_for(scraped, 60)
    rules: Any = request(9090, "GET", "/api/v1/rules")[2]
    assert {one["state"] for one in rules["data"]["groups"][0]["rules"]} == {"inactive"}
    identifier = subprocess.run([*running, "ps", "--quiet", "digits"], capture_output=True, text=True, check=True)
    subprocess.run([*running, "stop", "digits"], check=True, capture_output=True)
    inspected = docker("inspect", "--format", "{{.State.ExitCode}}", identifier.stdout.strip())
    assert inspected.stdout.strip() == "0"
