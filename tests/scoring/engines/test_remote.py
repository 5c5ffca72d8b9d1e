"""Scoring with a service: the real one, and a fake that fails in many ways."""

import csv
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from digits.decode import MAXIMUM_BYTES
from digits.open_inference import TensorDescription, decode_request, encode_response
from digits.settings import ModelSettings
from scoring.engines import client, remote
from scoring.engines.local import LocalEngine
from scoring.engines.remote import RemoteEngine
from scoring.errors import ScoringError
from scoring.inputs.images import Chunk
from scoring.inputs.search import find_chunks
from scoring.rows import IMAGES, PAGES, Layout, Row
from tests.helpers.images import encode, example, example_pixels, written_page
from tests.helpers.paths import EXAMPLES, ROOT
from tests.helpers.processes import environment, free_port, wait_for, worker_processes
from tests.helpers.scoring import rows_written
from tests.helpers.service import serving, start, wait_until_ready

IDX = ROOT / "training" / "data" / "mnist" / "t10k-images-idx3-ubyte.gz"
LENGTH = "Inference-Header-Content-Length"
MODEL = {"name": "digits", "version": "3", "sha256": "ab12"}


@dataclass
class Fake:
    """A fake service. By default it reads from each image the number that is its content.

    `infer` gets an image's bytes and may raise Status, or ConnectionError to close the connection.
    """

    infer: Callable[[bytes], object] = lambda _: None
    begin: Callable[[bytes], object] = lambda _: None
    metadata: dict[str, Any] = field(default_factory=lambda: {"name": "digits-image", "parameters": dict(MODEL)})
    prefix: str = ""
    version: str = "3"
    connections: int = 0
    asked: list[tuple[float, int]] = field(default_factory=list)  # when, and with how many images
    headers: list[dict[str, str]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    def answer(self, files: Sequence[bytes]) -> dict[str, Any]:
        for one in files:
            self.infer(one)
        digits = [int(one[-1:]) if one.isdigit() else 0 for one in files]
        return {
            "digit": np.array(digits, np.int64),
            "confidence": np.full(len(files), 0.9, np.float32),
            "reason": [b""] * len(files),
            "error": [b""] * len(files),
        }


class Status(Exception):
    """An answer to send instead of results."""

    def __init__(self, status: int, body: bytes = b"", **headers: str) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers


@contextmanager
def faked(fake: Fake, certificate: Path | None = None) -> Iterator[Fake]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def setup(self) -> None:
            super().setup()
            fake.connections += 1

        def do_GET(self) -> None:
            self.say(lambda _: (msgspec.json.encode(fake.metadata), {}))

        def do_POST(self) -> None:
            self.say(self.results)

        def results(self, body: bytes) -> tuple[bytes, dict[str, str]]:
            assert self.path == f"{fake.prefix}/v2/models/digits-image/versions/3/infer"
            image = TensorDescription("image", "BYTES", [-1])
            inference = decode_request(body, self.headers[LENGTH], image)
            files = inference.take_values()
            assert isinstance(files, list)
            fake.asked.append((time.monotonic(), len(files)))
            fake.begin(body)
            outputs = fake.answer(files)
            answer, length = encode_response(inference, {"name": "x", "version": fake.version}, outputs, [])
            return answer, {LENGTH: str(length)}

        def say(self, results: Callable[[bytes], tuple[bytes, dict[str, str]]]) -> None:
            fake.headers.append(dict(self.headers))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                if not self.path.startswith(fake.prefix):
                    raise Status(404)
                status, (answer, headers) = 200, results(body)
            except Status as error:
                status, answer, headers = error.status, error.body, error.headers
            except ConnectionError:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        fake.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield fake
        server.shutdown()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(client, "LONGEST_WAIT_SECONDS", 0.1)


def numbers(images: int, **others: bytes) -> Iterator[Chunk]:
    """Chunks of images whose content is their number, except those that are passed in; `_7` is image 7."""
    contents = [others.get(f"_{number}", str(number).encode()) for number in range(images)]
    for first in range(0, images, 100):
        names = [str(number) for number in range(first, min(first + 100, images))]
        yield Chunk(names, contents[first : first + 100])


def rows(engine: LocalEngine | RemoteEngine, chunks: Iterator[Chunk]) -> list[Row]:
    with engine:
        return list(engine.layout.read(scored.text for scored in engine.score(chunks)))


def score(fake: Fake, chunks: Iterator[Chunk], concurrency: int = 4) -> list[Row]:
    return rows(RemoteEngine(fake.url, concurrency), chunks)


def assert_all_read(found: list[Row], images: int, errors: Sequence[int] = ()) -> None:
    assert [row.path for row in found] == [str(number) for number in range(images)]
    assert [int(row.path) for row in found if row.error] == list(errors)
    assert all(row.digit == int(row.path) % 10 for row in found if not row.error)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(DIGITS_WORKERS="2") as (port, _):
        yield port


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder with every kind of input, valid and broken."""
    folder = tmp_path / "archive"
    folder.mkdir()
    random = np.random.default_rng(0)
    for digit in range(10):
        (folder / f"{digit}.png").write_bytes(example(digit))
    (folder / "cut.png").write_bytes(example(3)[:2000])
    (folder / "empty.png").touch()
    (folder / "gone.png").symlink_to("nowhere")
    (folder / "large.png").touch()
    os.truncate(folder / "large.png", MAXIMUM_BYTES + 1)
    (folder / "largest.png").write_bytes(example(1))
    os.truncate(folder / "largest.png", MAXIMUM_BYTES)
    (folder / "phone.jpg").write_bytes(encode(example_pixels(2), "JPEG") + bytes(MAXIMUM_BYTES))
    (folder / "noise.png").write_bytes(encode(random.integers(0, 256, (2000, 2000), np.uint8)))
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (folder / "blank.bmp").write_bytes(encode(np.full((50, 40), 255, np.uint8), "BMP"))
    (folder / "several.jpg").write_bytes(encode(np.hstack([example_pixels(4), example_pixels(2)]), "JPEG"))
    pixels = np.stack([example_pixels(digit) for digit in range(10)])
    (folder / "idx3-ubyte").write_bytes(b"\0\0\x08\x03" + np.array(pixels.shape, ">u4").tobytes() + pixels.tobytes())
    (folder / "cut-idx3-ubyte").write_bytes((folder / "idx3-ubyte").read_bytes()[:-1])
    files = [example(5), b"", None, b"no image"]
    pq.write_table(pa.table({"image": pa.array(files, pa.binary())}), folder / "bytes.parquet")
    small = pixels[:, ::10, ::10]
    lists = [small[6].ravel().tolist(), [256] * 4, [7] * 5, None, small[8].ravel().tolist()]
    pq.write_table(pa.table({"pixels": lists}), folder / "pixels.parquet")
    return folder


@pytest.mark.parametrize("layout", [IMAGES, PAGES], ids=str)
def test_same_rows_as_local_scoring(layout: Layout, port: int, archive: Path) -> None:
    (archive / "page.png").write_bytes(encode(written_page(["314   27", "5"], 60)))
    (archive / "smiley.jpg").write_bytes((ROOT / "service/static/samples/smiley.jpg").read_bytes())
    paths = [str(archive), str(archive / "nothing.png")]
    local = rows(LocalEngine(ModelSettings(provider="cpu"), 1, layout=layout), find_chunks(paths))
    found = rows(RemoteEngine(f"http://127.0.0.1:{port}", 3, layout), find_chunks(paths))
    assert [row._replace(confidence=None) for row in found] == [row._replace(confidence=None) for row in local]
    assert [row.confidence for row in found] == pytest.approx([row.confidence for row in local], abs=2e-6)
    assert len({row.outcome for row in found}) >= 12  # every digit, a rejection, an error


def test_rows_are_in_order_and_connections_are_reused(tmp_path: Path) -> None:
    with faked(Fake(begin=lambda body: time.sleep(len(body) % 7 / 1000))) as fake:
        assert_all_read(score(fake, numbers(2000), 5), 2000)
        assert fake.connections <= 5
        assert 2000 / 64 < len(fake.asked) < 300
        assert max(images for _, images in fake.asked) == remote.MOST_IMAGES


def test_memory_stays_flat_because_little_is_read_ahead(tmp_path: Path) -> None:
    taken = 0

    def chunks() -> Iterator[Chunk]:
        nonlocal taken
        for chunk in numbers(10_000):
            taken += 1
            yield chunk

    with faked(Fake()) as fake, RemoteEngine(fake.url, 2) as engine:
        scores = engine.score(chunks())
        next(scores)
        assert taken == 1


def test_busy_service_is_retried_after_retry_after(tmp_path: Path) -> None:
    rejected = iter(range(2))

    def begin(_: bytes) -> None:
        if next(rejected, None) is not None:
            raise Status(503, b'{"error": "full"}', Retry_After="1")

    with faked(Fake(begin=begin)) as fake:
        assert_all_read(score(fake, numbers(20), 1), 20)
    times = [when for when, _ in fake.asked[:3]]
    assert all(later - earlier >= 1 for earlier, later in pairwise(times))


@pytest.mark.parametrize("failure", [ConnectionError(), Status(502), Status(503)])
def test_many_failures_cause_no_error_rows(failure: Exception, tmp_path: Path) -> None:
    requests = count()

    def begin(_: bytes) -> None:
        if next(requests) % 3 == 0:
            raise failure

    with faked(Fake(begin=begin)) as fake:
        assert_all_read(score(fake, numbers(100)), 100)


def test_waiting_for_room_does_not_shrink_requests(tmp_path: Path) -> None:
    requests = count()

    def begin(_: bytes) -> None:
        if next(requests) in (4, 5, 6):
            raise Status(503, Retry_After="0.4")

    with faked(Fake(begin=begin)) as fake:
        assert_all_read(score(fake, numbers(2000), 1), 2000)
        assert [images for _, images in fake.asked[-9:-1]] == [36, 64, 36, 64, 36, 64, 36, 64]


def failing(failure: Callable[[], object]) -> Callable[[bytes], None]:
    def infer(file: bytes) -> None:
        if file == b"poison":
            failure()

    return infer


TOO_LATE = "it took longer than 0.3 s"


def raising(error: Exception) -> Callable[[], None]:
    def failure() -> None:
        raise error

    return failure


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (raising(ConnectionError()), "it closed the connection"),
        (lambda: time.sleep(1), TOO_LATE),
        (raising(Status(400)), "got 400: Bad Request"),
        (raising(Status(408, b'{"error": "expected a whole request in time"}')), "got 408: expected a whole request"),
        (raising(Status(413, b'{"error": "\x1b[31m"}')), "got 413: Request Entity Too Large"),
        (raising(Status(500)), "got 500: Internal Server Error"),
        (raising(Status(504)), "got 504: Gateway Timeout"),
        (raising(Status(200, b"garbage")), "got an answer that is not valid V2"),
        (raising(Status(200, b"{}", **{LENGTH: "2"})), "got an answer that is not valid V2"),
        (
            raising(Status(200, b'{"model_name":"","model_version":"3","outputs":[]}', **{LENGTH: "50"})),
            "got an answer that is not valid V2",
        ),
    ],
)
def test_image_that_the_service_fails_on_becomes_an_error_row(
    failure: Callable[[], object], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if error == TOO_LATE:
        monkeypatch.setattr(client, "ANSWER_SECONDS", 0.3)
    with faked(Fake(infer=failing(failure))) as fake:
        found = score(fake, numbers(300, _0=b"poison", _123=b"poison"))
    assert_all_read(found, 300, [0, 123])
    assert found[123].error is not None
    assert found[123].error.startswith(f"the service fails on this image: {error}")


def test_late_503_is_a_failure_and_not_lack_of_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LATE_SECONDS", 0.1)

    def hang() -> None:
        time.sleep(0.2)
        raise Status(503)

    with faked(Fake(infer=failing(hang))) as fake:
        assert_all_read(score(fake, numbers(100, _50=b"poison")), 100, [50])


def test_requests_shrink_for_a_proxy_with_a_lower_limit(tmp_path: Path) -> None:
    def begin(body: bytes) -> None:
        if len(body) > 2**19:
            raise Status(413)

    large = {f"_{number}": str(number).encode().zfill(100_000) for number in range(200)}
    large["_77"] = bytes(2**19 + 1)
    with faked(Fake(begin=begin)) as fake:
        assert_all_read(score(fake, numbers(200, **large)), 200, [77])
        assert fake.asked[-1][1] > 1


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (ConnectionError(), "no answer for [01] s: it closed the connection"),
        (Status(503, b'{"error": "full"}'), "no answer for [01] s: got 503: full"),
        (Status(500), "no answer for [01] s: got 500: Internal Server Error"),
        (Status(404, b'{"error": "x"}'), "expected version 3 of the model digits-image, .*; got 404: x"),
        (Status(401), "expected version 3 of the model .*; got 401: Unauthorized"),
    ],
)
def test_service_that_stops_answering_ends_the_run(
    failure: Exception, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE_SECONDS", 0.5)
    broken = threading.Event()

    def begin(_: bytes) -> None:
        if broken.is_set():
            raise failure

    with faked(Fake(begin=begin)) as fake, RemoteEngine(fake.url, 4) as engine:
        scores = engine.score(numbers(5000))
        next(scores)
        broken.set()
        begun = time.monotonic()
        with pytest.raises(ScoringError, match=message):
            list(scores)
        assert time.monotonic() < begun + 5


def test_unreachable_service_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE_SECONDS", 0.5)
    stopped = threading.Event()

    def begin(_: bytes) -> None:
        if stopped.is_set():
            raise ConnectionError

    with faked(Fake(begin=begin)) as fake:
        engine = RemoteEngine(fake.url, 2)
        engine.__enter__()
        scores = engine.score(numbers(2000))
        next(scores)
        stopped.set()
    with (
        engine_left(engine),
        pytest.raises(ScoringError, match=r"no answer for [01] s: it cannot be reached: Connection"),
    ):
        list(scores)


@contextmanager
def engine_left(engine: RemoteEngine) -> Iterator[None]:
    try:
        yield
    finally:
        engine.__exit__(None, None, None)


def test_changed_model_ends_the_run(tmp_path: Path) -> None:
    with (
        faked(Fake(version="4")) as fake,
        pytest.raises(ScoringError, match="expected an answer of version 3; got one"),
    ):
        score(fake, numbers(10))

    def begin(_: bytes) -> None:
        fake.metadata["parameters"]["sha256"] = "cd34"
        raise ConnectionError

    with (
        faked(Fake(begin=begin)) as fake,
        pytest.raises(ScoringError, match="the model changed from digits 3 ab12 to digits 3 cd34 during the run"),
    ):
        score(fake, numbers(10))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8000", "--url: expected a URL such as http://localhost:8000; got '"),
        ("ftp://localhost", "--url: expected a URL"),
        ("http://", "--url: expected a URL"),
        ("http://localhost:99999", "--url: expected a URL"),
        ("http://localhost/?a=b", "--url: expected a URL"),
        ("http://me:secret@localhost/#a", "got 'http://localhost/#a'"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1: no service answers: it cannot be reached: Connection refused"),
        ("http://me:secret@127.0.0.1:1", "http://127.0.0.1:1: no service answers: it cannot be reached"),
        ("http://nowhere.invalid", "http://nowhere.invalid: no service answers: it cannot be reached: "),
        ("https://127.0.0.1:{port}", "no service answers: it cannot be reached: .*SSL"),
        ("http://127.0.0.1:{port}/wrong", "expected a V2 service with the model digits-image; got 404: no such path"),
    ],
)
def test_wrong_url_fails_at_once(url: str, message: str, port: int) -> None:
    begun = time.monotonic()
    with pytest.raises(ScoringError, match=message) as caught, RemoteEngine(url.format(port=port), 1):
        pass
    assert "secret" not in str(caught.value)
    assert time.monotonic() < begun + 5


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"name": "digits-image", "versions": ["3"]}, "expected a digits service, which gives its model's .* sha256"),
        ({"parameters": {"sha256": "ab12"}}, "got another service, or an older version"),
    ],
)
def test_other_service_fails_at_once(metadata: dict[str, Any], message: str) -> None:
    with faked(Fake(metadata=metadata)) as fake, pytest.raises(ScoringError, match=message), RemoteEngine(fake.url, 1):
        pass


def test_prefix_and_password(tmp_path: Path) -> None:
    with faked(Fake(prefix="/read/digits")) as fake:
        url = fake.url.replace("//", "//me:p%40ss@") + "/"
        assert_all_read(rows(RemoteEngine(url, 2), numbers(50)), 50)
    assert {headers["authorization"] for headers in fake.headers} == {"Basic bWU6cEBzcw=="}


def test_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(certificate), "-out", str(tmp_path / "public.pem")),
        ],
        check=True,
        capture_output=True,
    )
    public = (tmp_path / "public.pem").read_text()
    certificate.write_text(certificate.read_text() + public)
    with faked(Fake(), certificate) as fake:
        url = fake.url.replace("http:", "https:")
        with pytest.raises(ScoringError, match=r"cannot be reached: .*certificate"), RemoteEngine(url, 1):
            pass
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "public.pem"))
        assert_all_read(rows(RemoteEngine(url, 2), numbers(50)), 50)


def command(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "scoring", *arguments],
        cwd=ROOT,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    with process:
        _, errors = process.communicate(timeout=60)
        return process.returncode, errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--concurrency", "3"], "--concurrency: expected --url with it"),
        (["--url", "http://localhost:1", "--concurrency", "0"], "Invalid value for '--concurrency'"),
        (["--url", "localhost:1"], "error: --url: expected a URL"),
        (["--url", "http://localhost:1"], "error: http://localhost:1: no service answers: it cannot be reached"),
    ],
)
def test_wrong_commands(arguments: list[str], message: str, tmp_path: Path) -> None:
    status, errors = end(command(str(EXAMPLES), "--output", str(tmp_path / "out.csv"), *arguments))
    assert (status, "Traceback" in errors) == (2, False)
    assert message in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "imported", "not_imported"),
    [("--url={url}", "urllib3", "onnxruntime"), ("", "scoring.engines.local", "urllib3")],
)
def test_unused_libraries_are_not_imported(options: str, imported: str, not_imported: str, tmp_path: Path) -> None:
    code = (
        "import sys; from scoring.command import score; score(sys.argv[1:], standalone_mode=False)"
        ";print({one.split('.')[0] for one in sys.modules} | sys.modules.keys())"
    )
    with faked(Fake()) as fake:
        arguments = [str(EXAMPLES), "--output", str(tmp_path / "out.csv"), *options.format(url=fake.url).split()]
        code = code.replace("score(", "\ntry: score(", 1).replace(";print", "\nexcept SystemExit: pass\nprint")
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment(), capture_output=True, text=True
        )
    assert repr(imported) in done.stdout, done.stderr
    assert repr(not_imported) not in done.stdout


def assert_finished(output: Path, images: int) -> None:
    with output.open(newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert len(paths) == len(set(paths)) == images


def test_service_restarted_during_a_run_causes_no_error_rows(tmp_path: Path) -> None:
    output, port = tmp_path / "out.csv", free_port()
    settings = {"DIGITS_WORKERS": "2"}
    service = start(port, settings, subprocess.DEVNULL)
    try:
        wait_until_ready(port)
        run = command(str(IDX), "--output", str(output), "--url", f"http://localhost:{port}")
        wait_for(lambda: rows_written(output) > 500)
        for killed in [service.pid, *worker_processes(service)]:
            os.kill(killed, signal.SIGKILL)
        service.wait()
        written = rows_written(output)
        service = start(port, settings, subprocess.DEVNULL)
        status, errors = end(run)
    finally:
        service.terminate()
        service.wait(timeout=30)
    assert status == 0, errors
    assert written < 10_000
    assert_finished(output, 10_000)
    assert "10,000 images" in errors


def test_ctrl_c_ends_at_once_and_the_same_command_resumes(tmp_path: Path) -> None:
    output, slow = tmp_path / "out.csv", threading.Event()
    slow.set()
    asked = 0

    def begin(_: bytes) -> None:
        nonlocal asked
        asked += 1
        while slow.is_set() and asked > 20:
            time.sleep(0.05)

    with faked(Fake(begin=begin)) as fake:
        arguments = [str(IDX), "--output", str(output), "--url", fake.url, "--concurrency", "4"]
        run = command(*arguments)
        wait_for(lambda: asked > 20)
        begun = time.monotonic()
        run.send_signal(signal.SIGINT)
        status, errors = end(run)
        assert time.monotonic() < begun + 5
        assert status == 130
        assert "interrupted; re-run the same command to resume" in errors
        slow.clear()
        status, errors = end(command(*arguments))
    assert status == 0, errors
    assert re.search(r"[0-9]+ had been scored before", errors)
    assert_finished(output, 10_000)


def test_run_uses_one_version_of_the_model(tmp_path: Path) -> None:
    versions = tmp_path / "models"
    shutil.copytree(ModelSettings().model_path.parent, versions / "1")
    with (
        serving(DIGITS_MODEL=str(versions)) as (port, process),
        RemoteEngine(f"http://localhost:{port}", 2) as engine,
    ):

        def reload() -> None:
            before = set(worker_processes(process))
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: not before & set(worker_processes(process)))

        scores = engine.score(chunk.part(0, 16) for chunk in find_chunks([str(IDX)]))
        next(scores)
        shutil.copytree(versions / "1", versions / "2")
        reload()
        later = [next(scores) for _ in range(20)]
        assert all(b",digits,1," in one.text for one in later)
        shutil.rmtree(versions / "1")
        reload()
        with pytest.raises(ScoringError, match=r"got 404: expected a served version, one of 2; got 1"):
            list(scores)
