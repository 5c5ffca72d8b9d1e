"""Real V2 clients, each in its own environment because their pinned dependencies conflict."""

import base64
import json
import struct
import subprocess
from pathlib import Path

import pytest

from tests.helpers.clients import KSERVE, MLSERVER, TRITON, environment_of
from tests.helpers.images import example
from tests.helpers.paths import ROOT

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("clients")]

# The last perf_analyzer that runs with Debian 12's C library; it also needs Debian's libb64-0d.
PERF_ANALYZER = "tritonclient==2.49.0 nvidia-cuda-runtime-cu12==12.9.79"


@pytest.mark.parametrize(
    ("package", "script"), [(TRITON, "triton.py"), (TRITON, "triton_aio.py"), (KSERVE, "kserve_rest.py")]
)
def test_client(package: str, script: str, port: int) -> None:
    python, script_path = environment_of(package) / "python", ROOT / "tests" / "e2e" / "clients" / script
    result = subprocess.run([python, script_path, str(port)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("options", [[], ["--binary-data"]])
def test_mlserver_infer(options: list[str], port: int, tmp_path: Path) -> None:
    data = [base64.b64encode(example(digit)).decode() for digit in range(10)]
    if options:  # sends numeric tensors only
        tensor = {"name": "images", "shape": [2, 28, 28], "datatype": "UINT8", "data": [0] * 2 * 28 * 28}
        model = "digits"
    else:
        tensor = {"name": "image", "shape": [10], "datatype": "BYTES", "data": data}
        model = "digits-image"
    (tmp_path / "in").write_text(json.dumps({"inputs": [tensor]}) + "\n")
    arguments = ["infer", "--url", f"127.0.0.1:{port}", "--model-name", model]
    files = ["--input-data-path", str(tmp_path / "in"), "--output-data-path", str(tmp_path / "out")]
    command = [str(environment_of(MLSERVER) / "mlserver"), *arguments, *files, *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    answer = json.loads((tmp_path / "out").read_text())
    assert answer["model_name"] == model
    outputs = {one["name"]: one for one in answer["outputs"]}
    if options:
        assert outputs["probabilities"]["shape"] == [2, 10]
    else:
        assert outputs["digit"]["data"] == list(range(10))


@pytest.mark.parametrize("model", ["digits", "digits-image"])
def test_perf_analyzer(model: str, port: int, tmp_path: Path) -> None:
    programs = environment_of(PERF_ANALYZER)
    [runtime] = programs.parent.glob("lib/*/site-packages/nvidia/cuda_runtime/lib")
    if model == "digits":
        inputs = ["--shape", "images:1,28,28"]
    else:
        # It sends the decoded base64 as it is, so the BYTES element needs its length prefix.
        element = struct.pack("<I", len(example(3))) + example(3)
        data = {"data": [{"image": {"b64": base64.b64encode(element).decode()}}]}
        (tmp_path / "in.json").write_text(json.dumps(data))
        inputs = ["--shape", "image:1", "--input-data", str(tmp_path / "in.json")]
    command = [
        str(programs / "perf_analyzer"),
        "-i",
        "http",
        "-u",
        f"127.0.0.1:{port}",
        "-m",
        model,
        "--request-count",
        "50",
    ]
    result = subprocess.run(
        command + inputs, env={"LD_LIBRARY_PATH": str(runtime)}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Request count: 50" in result.stdout
