"""`python -m scoring --engine ray` on this machine and on a cluster of two nodes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from socket import create_connection, create_server

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import S3FileSystem

from digits.settings import ModelSettings
from scoring.parquet import schema
from scoring.rows import IMAGES, PAGES
from tests.helpers.clients import environment_of
from tests.helpers.images import encode, example, example_pixels, written_page
from tests.helpers.paths import EXAMPLES, ROOT

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]

# A fake S3, in an environment of its own because its pins conflict.
MOTO = "moto[s3]==5.2.5 flask==3.1.3 flask-cors==6.0.5"
MNIST = ROOT / "training/data/mnist/t10k-images-idx3-ubyte.gz"
# Runs the command with small shards and short timeouts, and on request with a core that stands in for a GPU.
PROGRAM = """
from functools import partial
from dataclasses import replace
from scoring.command import score
from scoring.engines import local, ray
ray.SHARD = ray.PAGES_SHARD = {shard}
local.LocalEngine = partial(local.LocalEngine, image_seconds=2.0)
ray.RayEngine = partial(ray.RayEngine, image_seconds=2.0)
if {on_gpu}:
    class OnCores(ray.ScoringActor):
        def __init__(self, job):
            super().__init__(replace(job, settings=replace(job.settings, provider="cpu")))
    ray.ScoringActor = OnCores
score(prog_name="digits score")
"""
# In every process: images that crash or hang whatever opens them.
POISON = """
import os, signal, sys, time
def poison(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        if arguments[0].endswith("crash.png"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if arguments[0].endswith("hang.png"):
            time.sleep(1000)
sys.addaudithook(poison)
"""


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The environment of the cluster and of the runs."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(POISON)
    with create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "PYTHONPATH": str(folder),
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        }.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def store() -> Iterator[S3FileSystem]:
    """A fake S3 with an empty bucket `archive`."""
    endpoint = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    host, port = endpoint.split(":")
    command = [str(environment_of(MOTO) / "python"), "-m", "moto.server", "-H", host, "-p", port]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            create_connection((host, int(port))).close()
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    system = S3FileSystem(endpoint_override=endpoint, scheme="http", allow_bucket_creation=True)
    system.create_dir("archive")
    yield system
    process.kill()
    process.wait()


class Nodes:
    """A cluster of two nodes."""

    def __init__(self) -> None:
        command = [sys.executable, str(ROOT / "tests/helpers/cluster_of_two.py")]
        self.process = subprocess.Popen(
            command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.address = self._line()

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def lose_one(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("lose a node\n")
        self.process.stdin.flush()
        assert self._line() == "lost"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    nodes = Nodes()
    yield nodes
    nodes.process.communicate(timeout=30)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 images."""
    folder = tmp_path_factory.mktemp("many")
    for index in range(2000):
        path = folder / f"{index:04}.png"
        if index < 10:
            shutil.copy(EXAMPLES / f"{index}.png", path)
        else:
            os.link(folder / f"{index % 10:04}.png", path)
    return folder


def command(*arguments: str | Path, shard: int = 100, on_gpu: bool = False) -> list[str]:
    program = PROGRAM.format(shard=shard, on_gpu=on_gpu)
    return [sys.executable, "-c", program, *map(str, arguments)]


def score(*arguments: str | Path, shard: int = 100, on_gpu: bool = False) -> subprocess.CompletedProcess[str]:
    program = command(*arguments, shard=shard, on_gpu=on_gpu)
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def rows_of(output: Path) -> list[dict[str, object]]:
    """The rows of a file, or of a folder of files, sorted by path."""
    table = pq.read_table(output)
    assert table.schema in (schema(IMAGES), schema(PAGES))
    rows: list[dict[str, object]] = table.to_pylist()
    return sorted(rows, key=lambda row: str(row["path"]))  # the rows of one image stay in order


def names_of(output: Path) -> list[str]:
    return sorted(one.name for one in output.glob("rows-*.parquet"))


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(command(*arguments), cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_files(process: subprocess.Popen[str], output: Path, count: int) -> None:
    while len(names_of(output)) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.parametrize("on_gpu", [False, True])
def test_same_rows_as_local_scoring(nodes: Nodes, on_gpu: bool, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    shutil.copytree(EXAMPLES, folder / "a")
    for name in ("crash", "hang"):
        (folder / f"{name}.png").write_bytes(example(3))
    (folder / "b.png").write_bytes(b"no image")
    (folder / "c.png").symlink_to("nowhere")
    (folder / "d\r.png").write_bytes(example(4))
    os.link(folder / "b.png", os.fsencode(folder) + b"/\xff.png")
    (folder / "e-idx3-ubyte.gz").write_bytes(MNIST.read_bytes()[:100_000])
    pq.write_table(pa.table({"image": [example(5), None, b"no image"] * 99}), folder / "f.parquet", row_group_size=40)
    (folder / "g.parquet").write_bytes(b"no Parquet")
    with zipfile.ZipFile(folder / "h.zip", "w") as archive:
        archive.writestr("3/6.png", example(6))
    np.save(folder / "i.npy", np.stack([example_pixels(7), example_pixels(8)]))
    assert score(folder, "--output", tmp_path / "here.parquet").returncode == 1
    variables = {"DIGITS_PROVIDER": "cuda"} if on_gpu else {}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        there = score(
            folder, "--output", tmp_path / "there", "--engine", "ray", "--address", nodes.address, on_gpu=on_gpu
        )
    assert there.returncode == 1, there.stderr
    rows = rows_of(tmp_path / "there")
    assert rows == rows_of(tmp_path / "here.parquet")
    errors = {str(row["path"]).rpartition("/")[2]: row["error"] for row in rows if row["error"]}
    assert errors["crash.png"] == "expected an image that can be decoded; it ended the process by SIGSEGV"
    assert errors["hang.png"] == "expected an image that can be decoded; it took longer than 2 s"
    assert there.stderr.startswith(f"{len(rows):,} images: ")


def test_same_rows_of_pages_as_local_scoring(nodes: Nodes, tmp_path: Path) -> None:
    folder, output = tmp_path / "pages", tmp_path / "there"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.png").write_bytes(encode(written_page(["314", f"{number}7"], 60)))
    (folder / "5.png").write_bytes(encode(np.full((90, 60), 255, np.uint8)))
    (folder / "6.png").write_bytes(b"no image")
    assert score(folder, "--read", "--output", tmp_path / "here.parquet").returncode == 1
    arguments: list[str | Path] = [folder, "--output", output, "--engine", "ray", "--address", nodes.address]
    there = score(*arguments, "--read", shard=2)
    assert there.returncode == 1, there.stderr
    assert rows_of(output) == rows_of(tmp_path / "here.parquet")
    assert len(names_of(output)) == 4
    assert "7 images: 25 read, 1 rejected, 1 not decoded" in there.stderr
    (output / "_SUCCESS").unlink()
    assert "7 had been scored before" in score(*arguments, "--read", shard=2).stderr
    assert "expected rows of images; got rows of digits on pages" in score(*arguments).stderr


def test_input_and_output_in_an_object_store(nodes: Nodes, store: S3FileSystem, tmp_path: Path) -> None:
    for path in [*EXAMPLES.glob("*.png"), MNIST]:
        with store.open_output_stream(f"archive/images/{path.name}", compression=None) as file:
            file.write(path.read_bytes())
    arguments = ["s3://archive/images", "s3://archive/images/none.png"]
    result = score(*arguments, "--output", "s3://archive/rows", "--engine", "ray", "--address", nodes.address)
    assert result.returncode == 2
    assert "s3://archive/images/none.png: no such file or folder" in result.stderr
    arguments = ["s3://archive/images", "--output", "s3://archive/rows", "--engine", "ray", "--address", nodes.address]
    result = score(*arguments, shard=4096)
    assert result.returncode == 0, result.stderr
    score("s3://archive/images", "--output", tmp_path / "here.parquet")
    there = pq.read_table("archive/rows", filesystem=store).to_pylist()
    assert sorted(there, key=lambda row: str(row["path"])) == rows_of(tmp_path / "here.parquet")
    digits = {row["path"]: row["digit"] for row in there}
    assert [digits[f"s3://archive/images/{digit}.png"] for digit in range(10)] == list(range(10))
    assert len(digits) == 10 + 10_000
    again = score(*arguments)
    assert again.returncode == 0
    assert again.stderr == "s3://archive/rows: already complete; nothing to do (--overwrite starts over)\n"


def test_killed_run_resumes_and_gives_one_row_per_image(nodes: Nodes, many: Path, tmp_path: Path) -> None:
    output = tmp_path / "rows"
    arguments = [str(many), "--output", str(output), "--engine", "ray", "--address", nodes.address]
    chance = random.Random(7)
    for kill in range(3):
        before = names_of(output)
        process = start(*arguments)
        wait_for_files(process, output, len(before) + 1)
        time.sleep(chance.uniform(0, 0.3))
        process.kill()
        process.communicate()
        assert set(before) <= set(names_of(output))
        if kill == 1:
            os.link(many / "0003.png", many / "0000a.png")  # from here on, every shard holds other images
    assert not (output / "_SUCCESS").exists()
    last = score(*arguments)
    assert last.returncode == 0, last.stderr
    assert "had been scored before" in last.stderr
    paths = Counter(str(row["path"]) for row in rows_of(output))
    assert paths == Counter(map(str, many.iterdir()))


def test_finished_local_run_is_not_changed(tmp_path: Path) -> None:
    output = tmp_path / "rows"
    arguments = ["examples", "--output", str(output), "--engine", "ray"]
    assert score(*arguments).returncode == 0
    assert [row["digit"] for row in rows_of(output)] == list(range(10))
    before = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    again = score(*arguments)
    assert again.returncode == 0
    assert again.stderr == f"{output}: already complete; nothing to do (--overwrite starts over)\n"
    assert {path: path.stat().st_mtime_ns for path in output.iterdir()} == before
    (output / "_SUCCESS").unlink()
    with pytest.MonkeyPatch.context() as patch:
        model = shutil.copytree(ModelSettings().model_path.parent, tmp_path / "7") / "model.onnx"
        patch.setenv("DIGITS_MODEL", str(model))
        other = score(*arguments)
    assert other.returncode == 2
    assert "expected rows of the model digits 7" in other.stderr
    assert score(*arguments).returncode == 0  # nothing is left to score


def test_interrupted_run_prints_a_summary_and_leaves_no_processes(many: Path, tmp_path: Path) -> None:
    output = tmp_path / "rows"
    process = start(many, "--output", output, "--engine", "ray")
    wait_for_files(process, output, 1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.startswith("interrupted; re-run the same command to resume\n")
    assert "Traceback" not in said
    assert [one.name for one in output.iterdir() if not one.name.startswith(("rows-", "_new"))] == []
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.killpg(process.pid, 0)
            time.sleep(0.1)


def test_ray_is_not_started_by_whoever_calls_it_first() -> None:
    call = "import scoring.engines.ray, ray; ray.put(1)"
    result = subprocess.run([sys.executable, "-c", call], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Ray has not been started yet" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--address", "127.0.0.1:1", "--engine", "ray"], "127.0.0.1:1: no Ray cluster answers"),
        (["--address", "auto"], "--address: expected --engine ray with it; got none"),
        (["--engine", "ray", "--labels", "README.md"], "--engine ray: expected no --report, --labels"),
        (["--engine", "ray"], "cannot be read or written: Not a directory"),
    ],
)
def test_wrong_arguments_are_clear_errors(arguments: list[str], message: str, tmp_path: Path) -> None:
    output = "README.md/rows" if arguments == ["--engine", "ray"] else tmp_path / "rows"
    result = score("examples", "--output", output, *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_killed_worker_and_lost_node_lose_no_rows(nodes: Nodes, many: Path, tmp_path: Path) -> None:
    output = tmp_path / "rows"
    process = start(many, "--output", output, "--engine", "ray", "--address", nodes.address)
    wait_for_files(process, output, 1)
    workers = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.read_bytes().startswith(b"ray::MapWorker(Map(ScoringActor))")
        and session_of(path.parent) == session_of(Path("/proc", str(nodes.process.pid)))
    ]
    os.kill(workers[0], signal.SIGKILL)
    wait_for_files(process, output, 3)
    nodes.lose_one()
    _, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert Counter(str(row["path"]) for row in rows_of(output)) == Counter(map(str, many.iterdir()))


def session_of(process: Path) -> int:
    """The session ID of a process."""
    return int((process / "stat").read_text().rpartition(")")[2].split()[3])
