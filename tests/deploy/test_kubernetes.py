"""The Kubernetes manifests as rendered by kustomize, checked against the API's schemas and the code that they run."""

import copy
import re
import subprocess
import sys

import kubernetes_validate
import pytest
from flask.testing import FlaskClient

from digits import __version__
from service.settings import Settings
from tests.helpers.kubernetes import container, pod, rendered, variables
from tests.helpers.paths import ROOT
from tests.helpers.processes import environment

OVERLAYS = ["cpu", "cuda"]
# The oldest Kubernetes with all used fields, such as `preStop.sleep`, and the newest one with schemas.
VERSIONS = ["1.30", kubernetes_validate.latest_version().removesuffix(".0")]
LABELS = {"app.kubernetes.io/name": "digits"}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def gunicorn_settings(**variables: str) -> dict[str, str]:
    """Gunicorn's settings from gunicorn.conf.py and environment variables."""
    command = [sys.executable, "-m", "gunicorn", "--print-config"]
    result = subprocess.run(
        command, cwd=ROOT, env=environment(**variables), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return dict(re.findall(r"^(\w+) +=[ ]?(.*)$", result.stdout, re.MULTILINE))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_match_the_schemas(overlay: str, version: str) -> None:
    for resource in rendered(overlay).values():
        assert kubernetes_validate.validate(resource, version, strict=True) == version


def test_schemas_reject_misspelt_fields_and_unknown_kinds() -> None:
    wrong = copy.deepcopy(rendered("cpu")["Deployment"])
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["failureThreshhold"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        kubernetes_validate.validate(wrong | {"apiVersion": "apps/v1beta9"}, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_match_the_pods(overlay: str) -> None:
    kinds = rendered(overlay)
    assert kinds.keys() == {
        "Deployment",
        "Service",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
    }
    specs = {kind: resource["spec"] for kind, resource in kinds.items()}
    assert pod(overlay)["metadata"]["labels"] == LABELS
    selectors = [specs["Deployment"]["selector"], specs["PodDisruptionBudget"]["selector"]]
    selectors += [specs["NetworkPolicy"]["podSelector"]]
    selectors += [one["labelSelector"] for one in pod(overlay)["spec"]["topologySpreadConstraints"]]
    assert all(selector == {"matchLabels": LABELS} for selector in selectors)
    assert specs["Service"]["selector"] == LABELS
    scaled = kinds["Deployment"]
    assert specs["HorizontalPodAutoscaler"]["scaleTargetRef"] == {
        "apiVersion": scaled["apiVersion"],
        "kind": scaled["kind"],
        "name": scaled["metadata"]["name"],
    }
    assert "replicas" not in specs["Deployment"]
    assert specs["PodDisruptionBudget"]["maxUnavailable"] < specs["HorizontalPodAutoscaler"]["minReplicas"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ports_and_paths_match_the_service(overlay: str, client: FlaskClient) -> None:
    [port] = container(overlay)["ports"]
    assert port == {"name": "http", "containerPort": Settings().port}
    assert f"PORT={Settings().port} " in DOCKERFILE
    [published] = rendered(overlay)["Service"]["spec"]["ports"]
    [admitted] = rendered(overlay)["NetworkPolicy"]["spec"]["ingress"]
    assert published["targetPort"] == "http"
    assert admitted["ports"] == [{"protocol": "TCP", "port": "http"}]
    assert rendered(overlay)["NetworkPolicy"]["spec"]["egress"] == []
    probes = {name: container(overlay)[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {one["path"] for one in probes.values()} == {"/health/ready", "/health/live"}
    assert probes["livenessProbe"]["path"] == "/health/live"
    assert {one["port"] for one in probes.values()} == {"http"}
    annotations = pod(overlay)["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(Settings().port)
    for path in [*(one["path"] for one in probes.values()), annotations["prometheus.io/path"]]:
        assert client.get(path).status_code == 200


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_variables_are_settings(overlay: str) -> None:
    settings = Settings.from_environment(variables(container(overlay)))
    assert settings.provider == {"cpu": "auto", "cuda": "cuda"}[overlay]
    assert pod(overlay)["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize(("overlay", "tag"), [("cpu", __version__), ("cuda", f"{__version__}-cuda")])
def test_image_is_this_version(overlay: str, tag: str) -> None:
    assert container(overlay)["image"] == f"digits:{tag}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_rolling_update_waits_for_readiness_and_requests(overlay: str) -> None:
    assert rendered(overlay)["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    given = variables(container(overlay))
    stop = int(gunicorn_settings(GUNICORN_CMD_ARGS=given["GUNICORN_CMD_ARGS"])["graceful_timeout"])
    assert stop >= Settings.from_environment(given).deadline
    sleep = container(overlay)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod(overlay)["spec"]["terminationGracePeriodSeconds"] >= sleep + stop + 5


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_gunicorn_replaces_a_worker_before_kubernetes_replaces_the_pod(overlay: str) -> None:
    probe = container(overlay)["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > int(gunicorn_settings()["timeout"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_follow_the_restricted_profile(overlay: str) -> None:
    spec = pod(overlay)["spec"]
    [user, group] = map(int, re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)[-1])
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": group,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(overlay)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & spec.keys()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_limits_equal_requests(overlay: str) -> None:
    resources = container(overlay)["resources"]
    gpus = {"cpu": {}, "cuda": {"nvidia.com/gpu": 1}}[overlay]
    assert resources["limits"] == resources["requests"] | gpus
    assert resources["limits"]["cpu"].isdecimal()  # the service starts one worker per core
