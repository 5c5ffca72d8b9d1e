"""The KServe manifests, and that Triton would serve `digits` exactly as this service does."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import yaml
from flask.testing import FlaskClient

from digits.open_inference import DATATYPES
from digits.settings import MODELS
from service.settings import Settings
from tests.helpers.clients import KSERVE, TRITON, environment_of
from tests.helpers.kubernetes import container, pod, rendered
from tests.helpers.paths import ROOT
from tests.helpers.service import serving
from training.datasets.mnist import load_test

DEPLOY = ROOT / "deploy" / "kserve"
CLIENTS = ROOT / "tests" / "e2e" / "clients"
VERSIONS = [path.parent.name for path in Settings().model_paths]


def manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / f"{name}.yaml").read_text(encoding="utf-8")))


RUNTIME, SERVICE = manifests("digits")
[TRITON_SERVICE] = manifests("triton")
PREDICTOR, TRITON_PREDICTOR = SERVICE["spec"]["predictor"], TRITON_SERVICE["spec"]["predictor"]


def test_container_matches_the_deployment() -> None:
    [own] = RUNTIME["spec"]["containers"]
    assert own["name"] == "kserve-container"  # the name KServe looks for
    for name in ("image", "env", "resources", "securityContext", "lifecycle"):
        assert own[name] == container()[name]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert {**own[name], "httpGet": None} == {**container()[name], "httpGet": None}
    for name in ("enableServiceLinks", "automountServiceAccountToken", "terminationGracePeriodSeconds"):
        assert PREDICTOR[name] == pod()["spec"][name]
    assert PREDICTOR["securityContext"] == pod()["spec"]["securityContext"]
    strategy = rendered("cpu")["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert PREDICTOR["deploymentStrategy"]["rollingUpdate"] == strategy
    scaled = rendered("cpu")["HorizontalPodAutoscaler"]["spec"]
    assert (PREDICTOR["minReplicas"], PREDICTOR["maxReplicas"]) == (scaled["minReplicas"], scaled["maxReplicas"])
    assert PREDICTOR["scaleTarget"] == scaled["metrics"][0]["resource"]["target"]["averageUtilization"]


def test_ports_and_paths_match_the_service(client: FlaskClient) -> None:
    [own] = RUNTIME["spec"]["containers"]
    assert own["ports"] == [{"name": "http1", "containerPort": Settings().port, "protocol": "TCP"}]
    annotations = RUNTIME["spec"]["annotations"]
    assert annotations["prometheus.kserve.io/port"] == str(Settings().port)
    probes = [own[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert {probe["port"] for probe in probes} == {Settings().port}
    for path in [*(probe["path"] for probe in probes), annotations["prometheus.kserve.io/path"]]:
        assert client.get(path).status_code == 200


def test_service_uses_the_runtime() -> None:
    model = PREDICTOR["model"]
    assert model["runtime"] == RUNTIME["metadata"]["name"]
    assert model["modelFormat"] in RUNTIME["spec"]["supportedModelFormats"]
    assert model["protocolVersion"] in RUNTIME["spec"]["protocolVersions"]


def test_triton_replaces_the_service() -> None:
    assert TRITON_SERVICE["metadata"] == SERVICE["metadata"]
    assert TRITON_PREDICTOR["model"]["protocolVersion"] == PREDICTOR["model"]["protocolVersion"] == "v2"
    assert TRITON_PREDICTOR["model"]["storageUri"].endswith(f"/{MODELS.parent.name}")
    assert TRITON_PREDICTOR["model"]["lifecycle"] == container()["lifecycle"]
    for name in ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "deploymentStrategy"):
        assert TRITON_PREDICTOR[name] == PREDICTOR[name]


def run(package: str, script: str, *arguments: object, text: str = "") -> str:
    command = [str(one) for one in (environment_of(package) / "python", CLIENTS / script, *arguments)]
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.clients
@pytest.mark.xdist_group("clients")
def test_manifests_match_kserves_schema() -> None:
    assert run(KSERVE, "kserve_schema.py", text=json.dumps([RUNTIME, SERVICE, TRITON_SERVICE])) == ""
    wrong = {**SERVICE, "spec": {"predictor": PREDICTOR | {"minReplica": 1, "maxReplicas": "10"}}}
    assert run(KSERVE, "kserve_schema.py", text=json.dumps([wrong])).splitlines() == [
        "InferenceService.spec.predictor: V1beta1PredictorSpec has no field minReplica",
        "InferenceService.spec.predictor.maxReplicas: expected int; got '10'",
    ]


@pytest.mark.clients
@pytest.mark.xdist_group("clients")
def test_tritons_configuration_matches_model_and_service(client: FlaskClient) -> None:
    configuration = json.loads(run(TRITON, "triton_config.py", MODELS / "config.pbtxt"))
    assert configuration.pop("version_policy") == {"all": {}}
    served = client.get("/v2/models/digits/config").json
    assert served is not None
    assert configuration.pop("platform") == served["platform"] == "onnxruntime_onnx"
    tensors = {side: configuration.pop(side) for side in ("input", "output")}
    assert configuration == {"name": MODELS.name}  # no batching beyond the tensors' own first dimension
    for version in VERSIONS:
        session = onnxruntime.InferenceSession(MODELS / version / "model.onnx")
        metadata = client.get(f"/v2/models/digits/versions/{version}").json
        assert metadata is not None
        for side, own in [("input", session.get_inputs()), ("output", session.get_outputs())]:
            described = [
                (one["name"], one["data_type"].removeprefix("TYPE_"), list(map(int, one["dims"])))
                for one in tensors[side]
            ]
            assert described == [
                (one.name, DATATYPES[one.type], [size if isinstance(size, int) else -1 for size in one.shape])
                for one in own
            ]
            assert described == [(one["name"], one["datatype"], one["shape"]) for one in metadata[f"{side}s"]]


@pytest.mark.clients
@pytest.mark.xdist_group("clients")
def test_tritons_client_gets_onnx_runtimes_outputs(tmp_path: Path) -> None:
    """For every version, loaded with ONNX Runtime's defaults, as Triton does."""
    images = load_test().images[:1000]
    np.save(tmp_path / "images.npy", images)
    with serving() as (port, _):
        run(TRITON, "triton_digits.py", port, tmp_path / "images.npy", tmp_path / "answers.npz")
    answers = np.load(tmp_path / "answers.npz")
    assert len(answers) == 4 * len(VERSIONS)
    for version in VERSIONS:
        session = onnxruntime.InferenceSession(MODELS / version / "model.onnx")
        for name, expected in zip(("probabilities", "is_digit"), session.run(None, {"images": images}), strict=True):
            for binary in (True, False):
                np.testing.assert_allclose(answers[f"{version} {name} {binary}"], expected, rtol=0, atol=1e-6)
