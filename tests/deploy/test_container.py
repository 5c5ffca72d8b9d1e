"""The container image, built and run. Needs a Docker engine."""

import csv
import gzip
import http.client
import io
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import encode_multipart

from digits import __version__
from digits.decode import FORMATS
from service.app import create_app
from service.settings import Settings
from tests.helpers.docker import IMAGE, build, docker
from tests.helpers.images import encode, example, example_pixels, written_page
from tests.helpers.load import CLIENTS, Load
from tests.helpers.paths import EXAMPLES, ROOT, VERSION
from tests.helpers.processes import free_port, wait_for
from tests.helpers.service import metric, request, wait_until_ready

pytestmark = [pytest.mark.container, pytest.mark.xdist_group("network")]

OWN_MEGABYTES = 180
# The strictest options a platform may set, with a user other than the image's own.
LOCKED = ["--user=12345:678", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--pids-limit=256"]
SMALL = ["--memory=256m", "--cpus=0.5"]
# Packages of extras that the image leaves out.
EXTRAS = {"pyarrow", "ray"}
# pip's options for packages that the image's Python accepts on 64-bit ARM.
ARM = [f"--platform=manylinux_{glibc}_aarch64" for glibc in ("2_28", "2_27", "2_17")] + ["--python-version=3.12"]


def inspect(name: str, template: str) -> str:
    return docker("inspect", "--format", template, name).stdout.strip()


def python(image: str, code: str, *options: str, **keywords: Any) -> subprocess.CompletedProcess[str]:
    return docker("run", "--rm", "--network", "none", *options, "--entrypoint", "python", image, "-c", code, **keywords)


@contextmanager
def running(image: str, *options: str, host: bool = True) -> Iterator[tuple[str, int]]:
    """A ready container and its port. It shares the host's network, which works with any engine."""
    port = free_port()
    network = ["--network", "host", "--env", f"PORT={port}"] if host else ["--network", "none"]
    identifier = docker("run", "--detach", *network, *options, image).stdout.strip()
    try:
        wait_for(
            lambda: "Ready" in docker("logs", identifier).stdout or inspect(identifier, "{{.State.Pid}}") == "0", 60
        )
        assert inspect(identifier, "{{.State.Status}}") == "running", docker("logs", identifier).stderr
        yield identifier, port
    finally:
        docker("rm", "--force", identifier)


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[tuple[str, int]]:
    """The locked-down service with 256 MB of memory and half a core."""
    with running(image, *LOCKED, *SMALL) as started:
        yield started


def wait_for_health(identifier: str, status: str) -> None:
    wait_for(lambda: inspect(identifier, "{{.State.Health.Status}}") == status, 60)


def own_layers(image: str) -> dict[str, int]:
    """The instructions above the Python image, and the bytes each adds."""
    history = docker("history", "--no-trunc", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", image).stdout
    lines = history.splitlines()
    first = next(number for number, line in enumerate(lines) if " ENV PATH=/venv/bin:" in line)
    return {line.partition(" ")[2]: int(line.partition(" ")[0]) for line in lines[: first + 1]}


def test_own_layers_are_small(image: str) -> None:
    layers = own_layers(image)
    assert sum(layers.values()) < OWN_MEGABYTES * 1e6, layers


def test_labels(image: str) -> None:
    labels = json.loads(inspect(image, "{{json .Config.Labels}}"))
    assert {name.removeprefix("org.opencontainers.image."): text for name, text in labels.items()} == {
        "title": "digits",
        "description": "Reads handwritten digits over HTTP, or a folder at a time",
        "licenses": "MIT",
        "version": __version__,
        "created": "2026-11-26T12:00:00Z",
        "revision": "1a2b3c",
        "source": "https://example.org/digits",
    }


def test_user_is_not_root_and_torch_is_absent(image: str) -> None:
    assert inspect(image, "{{.Config.User}}") == "65532:65532"
    code = "import os; from importlib.util import find_spec; print(os.getuid(), find_spec('torch'), find_spec('onnx'))"
    assert python(image, code).stdout.split() == ["65532", "None", "None"]


def test_dependencies_are_complete(image: str) -> None:
    checked = docker("run", "--rm", "--entrypoint", "pip", image, "--python", "/venv/bin/python", "check")
    assert checked.stdout == "No broken requirements found.\n"


def test_every_module_and_file_is_included(image: str) -> None:
    code = """
import importlib, pathlib, pkgutil
for package in ("cli", "digits", "service", "scoring"):
    for module in pkgutil.iter_modules([package], package + "."):
        try:
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name.partition(".")[0] not in {EXTRAS}:
                raise
print(*sorted(str(path) for path in pathlib.Path().rglob("*") if path.is_file() and path.suffix != ".pyc"))
""".replace("{EXTRAS}", str(EXTRAS))
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    copied = ("cli/", "digits/", "service/", "scoring/", "models/", "examples/")
    assert python(image, code).stdout.split() == sorted(path for path in listed if path.startswith(copied))


def image_files() -> list[bytes]:
    """A digit in every format and compression library, and in one rejected format."""
    grey = Image.fromarray(example_pixels(7))
    colours, ink = grey.convert("RGB"), grey.convert("1")
    compressions = ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "lzma", "zstd")
    return [
        *(encode(colours, kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")),
        *(encode(colours, "TIFF", compression=compression) for compression in compressions),
        encode(ink, "TIFF", compression="group4"),
        encode(grey, "WEBP", lossless=True),
        encode(grey.convert("CMYK"), "JPEG"),
        encode(colours.resize((2000, 2000)), "JPEG", progressive=True),
        encode(grey.convert("P")),
        encode(example_pixels(7).astype("uint16") * 257),
    ]


def requests(client: FlaskClient) -> Iterator[tuple[str, str, bytes | None, dict[str, str]]]:
    """Method, path, body and headers of requests to every route whose responses are deterministic."""
    served = (f"/versions/{VERSION}", "")
    yield from (("POST", "/predict", data, {}) for data in image_files())
    yield "POST", "/predict?show=image", gzip.compress(example(3)), {"Content-Encoding": "gzip"}
    files = {"image": [(io.BytesIO(data), "file") for data in (example(1), b"no image", example(2))]}
    boundary, form = encode_multipart(files)
    yield "POST", "/predict/batch", form, {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    yield "POST", f"/explain?version={VERSION}", example(3), {}
    yield "POST", "/read?show=images", encode(written_page(["12", "345"], 60)), {}
    layers = [layer["name"] for layer in client.post("/explain", data=example(3)).get_json()["layers"]]
    yield from (("GET", f"/explain/{layer}", None, {}) for layer in layers)
    yield from (
        ("GET", f"/samples/{path.name}", None, {}) for path in (ROOT / "service" / "static" / "samples").iterdir()
    )
    for folder in ("page", "docs"):
        static = ROOT / "service" / "static" / folder
        yield from (("GET", f"/{folder}/{path.name}", None, {}) for path in static.iterdir())
    gets = ("/", "/docs", "/openapi.json", "/health/live", "/health/ready")
    yield from (("GET", path, None, {}) for path in (*gets, "/v2", "/v2/", "/v2/health/live", "/v2/health/ready"))
    pixels = {"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": [0] * 784}
    for version in served:
        for rest in ("", "/ready", "/config"):
            yield "GET", f"/v2/models/digits{version}{rest}", None, {}
        yield "POST", f"/v2/models/digits{version}/infer", json.dumps({"inputs": [pixels]}).encode(), {}
        for name in ("digits-image", "digits-page"):
            yield "POST", f"/v2/models/{name}{version}/infer", example(7), {"Inference-Header-Content-Length": "0"}
    instances = json.dumps({"instances": [[[0] * 28] * 28]}).encode()
    for version in served:
        yield "GET", f"/v1/models/digits{version}", None, {}
        yield "POST", f"/v1/models/digits{version}:predict", instances, {}
    yield "GET", "/v1/models", None, {}
    yield "POST", "/v2/repository/index", b"", {}
    yield "POST", "/v2/repository/models/digits/load", b"", {}


def test_every_route_responds_as_outside_the_container(container: tuple[str, int]) -> None:
    app = create_app(Settings(provider="cpu"))
    client, seen = app.test_client(), {"metrics.show"}
    for method, path, body, headers in requests(client):
        connection = http.client.HTTPConnection("127.0.0.1", container[1], timeout=30)
        connection.request(method, path, body, headers)
        there = connection.getresponse()
        with client.open(path, method=method, data=body, headers=headers) as here:
            assert (there.status, there.read()) == (here.status_code, here.data), path
        connection.close()
        seen.add(app.url_map.bind("").match(path.partition("?")[0], method)[0])
    assert seen == {rule.endpoint for rule in app.url_map.iter_rules()}
    assert metric(container[1], "digits_images_total", outcome="digit") > len(FORMATS)


def test_memory_fits_concurrent_large_images(container: tuple[str, int]) -> None:
    identifier, port = container
    files = [
        encode(Image.new("RGBA", (4500, 4400))),
        encode(Image.new("CMYK", (4500, 4400)), "TIFF", compression="tiff_lzw"),
        encode(Image.new("RGB", (5000, 5000)), "JPEG", progressive=True),
        encode(Image.new("RGBA", (2600, 2600)), "WEBP"),
    ]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda data: request(port, "POST", "/predict", data), files * 4))
    assert {(status, body["reason"]) for status, _, body in answers} == {(200, "blank")}
    assert "SIGKILL" not in docker("logs", identifier).stdout


def test_becomes_healthy_with_one_worker_per_core(container: tuple[str, int]) -> None:
    wait_for_health(container[0], "healthy")
    assert docker("logs", container[0]).stdout.count("Booting worker") == 1


def test_all_modules_are_compiled(image: str) -> None:
    """With write access, the image's Python finds nothing left to compile."""
    with running(image, "--user=root", "--env=PYTHONDONTWRITEBYTECODE=") as (identifier, port):
        assert request(port, "POST", "/predict", example(7))[2]["digit"] == 7
        assert [line for line in docker("diff", identifier).stdout.splitlines() if "__pycache__" in line] == []


def test_scores_a_mounted_folder(image: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    run = ["run", "--rm", "--network", "none", *LOCKED, *SMALL, f"--volume={EXAMPLES}:/images:ro"]
    printed = docker(*run, image, "score", "/images", "--output", "-").stdout
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [(row["path"], row["digit"]) for row in rows] == [
        (f"/images/{digit}.png", str(digit)) for digit in range(10)
    ]
    output = ["--output", "/results/rows.jsonl", "--report", "/results/report.html"]
    docker(*run, f"--volume={tmp_path}:/results", image, "score", "/images", *output)
    written = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["digit"] for row in written] == list(range(10))
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("data:image/png") >= 20


def test_needs_no_shell_and_no_network(image: str) -> None:
    without = f"FROM {image}\nUSER root\nRUN rm /bin/sh /bin/bash /bin/dash\nUSER 65532:65532\n"
    code = """
import urllib.request
with open("/app/examples/7.png", "rb") as file:
    print(urllib.request.urlopen("http://127.0.0.1:8000/predict", file.read()).read())
"""
    with running(build(f"{image}-without-shell", text=without), *LOCKED, host=False) as (identifier, _):
        wait_for_health(identifier, "healthy")
        assert '"digit":7' in docker("exec", identifier, "python", "-c", code).stdout


def test_health_check_bypasses_proxies(image: str) -> None:
    with running(image, "--env=http_proxy=http://127.0.0.1:9", host=False) as (identifier, _):
        wait_for_health(identifier, "healthy")


def test_becomes_unhealthy_while_workers_are_stopped(image: str) -> None:
    often = ["--health-interval=1s", "--health-timeout=2s", "--health-retries=2"]
    code = """
import os, signal, sys
for worker in open("/proc/1/task/1/children").read().split():
    os.kill(int(worker), getattr(signal, sys.argv[1]))
"""
    with running(image, *LOCKED, *often, host=False) as (identifier, _):
        wait_for_health(identifier, "healthy")
        for signal, status in [("SIGSTOP", "unhealthy"), ("SIGCONT", "healthy")]:
            docker("exec", identifier, "python", "-c", code, signal)
            wait_for_health(identifier, status)


def test_health_check_without_a_service(image: str) -> None:
    result = docker("run", "--rm", "--network", "none", image, "health", check=False)
    assert result.returncode == 1
    assert result.stderr.endswith("error: no answer from port 8000: [Errno 111] Connection refused\n")


def test_worker_killed_for_memory_is_replaced(image: str) -> None:
    """It loses only its own requests; the container stays up."""
    large = encode(Image.new("RGB", (4900, 4900)), "WEBP")
    with running(image, *LOCKED, "--memory=160m", "--memory-swap=160m", "--cpus=1") as (identifier, port):

        def kills() -> int:
            return docker("logs", identifier).stdout.count("was sent SIGKILL! Perhaps out of memory?")

        load = Load(port)
        with ThreadPoolExecutor(2) as pool:
            for _ in range(2):
                pool.submit(request, port, "POST", "/predict", large)
        # Near its limit a process may thrash for long before it is killed, because pages of files are evicted first.
        wait_for(lambda: kills() > 0, 120)
        wait_until_ready(port)
        time.sleep(1)
        assert request(port, "POST", "/predict", example(7))[2]["digit"] == 7
        lost = load.end()
        assert len(lost.failures) <= kills() * CLIENTS
        assert lost.answered > 20
        assert inspect(identifier, "{{.State.Status}} {{.RestartCount}}") == "running 0"


def test_killed_container_restarts_on_failure(image: str) -> None:
    with running(image, *LOCKED, "--restart=on-failure") as (identifier, port):
        kill = f"import os, signal; os.kill({inspect(identifier, '{{.State.Pid}}')}, signal.SIGKILL)"
        python(image, kill, "--pid=host", "--user=root")
        wait_for(lambda: inspect(identifier, "{{.RestartCount}}") == "1")
        wait_until_ready(port)
        assert request(port, "POST", "/predict", example(7))[2]["digit"] == 7


def test_stop_under_load_finishes_accepted_requests(image: str) -> None:
    """Every client that could connect gets a complete, correct response, and no process has to be killed."""
    with running(image, *LOCKED, "--cpus=2") as (identifier, port):
        load = Load(port)
        time.sleep(2)
        docker("stop", identifier)
        lost = load.end()
        assert lost.failures == []
        assert lost.answered > 20
        assert inspect(identifier, "{{.State.ExitCode}}") == "0"


def test_wrong_model_and_wrong_command_stop_the_start(image: str, tmp_path: Path) -> None:
    shutil.copy(Settings().model_path.with_name("finder.onnx"), tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"no model")
    arguments = ["run", "--rm", "--volume", f"{tmp_path}:/model", "--env", "DIGITS_MODEL=/model/model.onnx", image]
    for mode, message in [(0o700, "got: Permission denied."), (0o755, "got a file that ONNX Runtime cannot load.")]:
        tmp_path.chmod(mode)
        result = docker(*arguments, check=False)
        assert result.returncode != 0
        assert f"error: /model/model.onnx: expected an ONNX model; {message}" in result.stderr
        assert "Traceback" not in result.stderr
    result = docker("run", "--rm", image, "dance", check=False)
    assert result.returncode == 2
    assert "Error: No such command 'dance'." in result.stderr
    result = docker("run", "--rm", image, "train", check=False)
    assert result.returncode == 2
    assert "Error: this installation does not include training" in result.stderr


def test_missing_temporary_directory_stops_the_start(image: str) -> None:
    result = docker("run", "--rm", "--network", "none", "--read-only", "--ipc", "none", image, check=False)
    assert result.returncode == 1
    assert "error: expected to write temporary files to /dev/shm or /tmp; got: No usable" in result.stderr
    assert "Traceback" not in result.stderr


def test_mounted_model(image: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    shutil.copytree(Settings().model_path.parent, tmp_path / "12")
    with running(image, *LOCKED, f"--volume={tmp_path}:/models:ro", "--env=DIGITS_MODEL=/models") as (_, port):
        assert request(port, "POST", "/predict", example(7))[2]["model"] == {"name": "digits", "version": "12"}


@pytest.mark.usefixtures("image")  # skips without an engine
def test_cuda_image_is_complete() -> None:
    """The only missing library is the driver's, which the host with the GPU provides."""
    image = build(f"{IMAGE}-cuda", "--target", "cuda")
    checked = docker("run", "--rm", "--user=root", "--entrypoint=pip", image, "--python", "/venv/bin/python", "check")
    assert checked.stdout == "No broken requirements found.\n"
    code = """
import pathlib, subprocess, sys
[packages] = pathlib.Path("/venv/lib").glob("python3.*/site-packages")
folders = {str(path.parent) for path in packages.glob("nvidia/**/*.so.*")}
libraries = [packages / "onnxruntime/capi/libonnxruntime_providers_cuda.so", *packages.glob("nvidia/**/*.so.*")]
listed = subprocess.run(["ldd", *libraries], env={"LD_LIBRARY_PATH": ":".join(folders)}, capture_output=True, text=True)
print(*sorted({line.split()[0] for line in listed.stdout.splitlines() if "not found" in line}))
"""
    assert python(image, code).stdout.split() == ["libcuda.so.1"]
    result = docker("run", "--rm", "--network", "none", image, check=False)
    assert result.returncode == 1
    assert "error: DIGITS_PROVIDER: expected CUDA; ONNX Runtime could not start it on this machine." in result.stderr


def test_packages_exist_for_arm(tmp_path: Path) -> None:
    """Every package has an ARM wheel, and the files that the Dockerfile removes are in them."""
    install = ["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--no-compile"]
    wanted = ["--only-binary=:all:", *ARM, "--target", str(tmp_path), "--requirement", "requirements/serve.txt"]
    command = [sys.executable, "-m", "pip", *install, *wanted]
    installed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stderr
    commands = re.sub(r"\\\n(\s*#.*\n)*", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    removed = " ".join(re.findall(r" rm -r ([^&{]+) &&", commands)).split()
    assert "numpy/f2py" in removed
    assert [pattern for pattern in removed if not list(tmp_path.glob(pattern.removeprefix("/venv/")))] == []
