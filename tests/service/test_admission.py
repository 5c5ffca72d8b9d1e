import gzip
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import EnvironBuilder, run_wsgi_app

from digits import tracing
from digits.decode import decode
from digits.memory import memory_lock
from digits.tracing import DeadlineError
from service.admission import BodiesError, BusyError, Limiter
from service.app import create_app
from service.request_body import REFUSAL
from service.settings import Settings
from tests.helpers.client import assert_error, last_line
from tests.helpers.images import encode, example


def distant_deadline() -> float:
    return time.monotonic() + 30


def test_concurrency_and_queue_limits() -> None:
    limiter, inside, leave = Limiter(2, 1, 2**20), threading.Semaphore(0), threading.Event()

    def enter() -> None:
        with limiter.admitted(distant_deadline()):
            inside.release()
            leave.wait()

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(enter) for _ in range(3)]
        assert inside.acquire(timeout=10)
        assert inside.acquire(timeout=10)
        while not limiter._waiting:
            time.sleep(0.01)
        assert not inside.acquire(timeout=0.1)
        with pytest.raises(BusyError), limiter.admitted(distant_deadline()):
            pass
        leave.set()
        for one in asking:
            one.result()
    with limiter.admitted(distant_deadline()):
        pass


def test_queue_is_first_in_first_out() -> None:
    limiter, entered = Limiter(1, 10, 2**20), list[int]()

    def enter(number: int) -> None:
        with limiter.admitted(distant_deadline()):
            entered.append(number)

    with ThreadPoolExecutor(10) as pool, limiter.admitted(distant_deadline()):
        for number in range(10):
            pool.submit(enter, number)
            while len(limiter._waiting) <= number:
                time.sleep(0.001)
    assert entered == list(range(10))


def test_memory_lock_admits_one_thread_and_waits_until_the_deadline() -> None:
    large = encode(Image.new("L", (1500, 1400)))
    with ThreadPoolExecutor(1) as pool:

        def late() -> None:
            tracing.begin(time.monotonic() + 0.1)
            try:
                decode(large)
            finally:
                tracing.end()

        with memory_lock(), pytest.raises(DeadlineError):
            pool.submit(late).result()
        assert pool.submit(decode, large).result().whole().shape == (1400, 1500)


def test_body_memory_limit() -> None:
    limiter = Limiter(1, 1, 100)
    limiter.hold(60)
    limiter.check(40)
    for rejected in (lambda: limiter.hold(41), lambda: limiter.check(41)):
        with pytest.raises(BodiesError):
            rejected()
    limiter.drop(60)
    limiter.hold(100)


def test_timed_out_waiter_frees_its_slot() -> None:
    limiter = Limiter(1, 1, 2**20)
    with limiter.admitted(distant_deadline()):
        for _ in range(3):
            with pytest.raises(DeadlineError), limiter.admitted(time.monotonic() + 0.01):
                pass


@pytest.fixture(scope="module")
def full() -> FlaskClient:
    """A service whose only slot is taken."""
    app = create_app(Settings(concurrency=1, queue=0))
    app.extensions["limiter"].enter(distant_deadline())
    return app.test_client()


@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_full_service_sends_retry_after(path: str, full: FlaskClient) -> None:
    response = full.post(path, data=example(7))
    assert_error(response, 503, "server busy: the queue is full")
    assert response.headers["Retry-After"] == "1"


def test_full_service_responds_before_reading_the_body(full: FlaskClient) -> None:
    body = BytesIO(example(7))
    length = len(example(7))
    environ = EnvironBuilder("/predict", method="POST", input_stream=body, content_length=length).get_environ()
    pieces, status, _ = run_wsgi_app(full.application, environ)
    answer = iter(pieces)
    assert b"server busy: the queue is full" in next(answer)
    assert status.startswith("503")
    assert body.tell() == 0
    assert list(answer) == []
    assert body.tell() == length  # otherwise the connection is reset and the response lost


@pytest.mark.parametrize("origin", [{}, {"Origin": "https://example.org"}])
def test_what_the_worker_refuses_is_answered_counted_and_logged(
    origin: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = create_app(Settings(cors_origins="https://example.org")).test_client()
    headers = {"X-Request-ID": "mine", **origin}
    response = client.post("/predict", data=example(7), headers=headers, environ_base={REFUSAL: BusyError()})
    assert_error(response, 503, "server busy: the queue is full")
    assert response.headers["Retry-After"] == "1"
    assert response.headers["X-Request-ID"] == "mine"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers.get("Access-Control-Allow-Origin") == origin.get("Origin")
    line = last_line(caplog)
    assert (line["route"], line["path"], line["status"]) == ("/predict", "/predict", 503)
    assert line["bytes"] == len(example(7))
    metrics = client.get("/metrics").text
    assert 'digits_requests_total{route="/predict",status="503"} 1.0' in metrics
    assert 'digits_rejections_total{cause="queue"} 1.0' in metrics


def test_full_body_memory_sends_retry_after() -> None:
    app = create_app(Settings(provider="cpu", body_megabytes=17))
    client, limiter = app.test_client(), app.extensions["limiter"]
    limiter.hold(17 * 2**20 - 10_000)
    response = client.post("/predict", data=bytes(20_000))
    assert_error(response, 503, "server busy: the request bodies in memory have reached their limit")
    assert response.headers["Retry-After"] == "1"
    # Decompressed and chunked bodies count too.
    squeezed = gzip.compress(bytes(20_000))
    assert client.post("/predict", data=squeezed, headers={"Content-Encoding": "gzip"}).status_code == 503
    stream = BytesIO(bytes(20_000))
    headers = {"Transfer-Encoding": "chunked"}
    chunked = client.post(
        "/predict", input_stream=stream, headers=headers, environ_overrides={"wsgi.input_terminated": True}
    )
    assert chunked.status_code == 503
    assert client.post("/predict", data=example(7)).status_code == 200
    assert 'digits_rejections_total{cause="bodies"} 3.0' in client.get("/metrics").text


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (example(7), {}),
        (b"no image", {}),
        (bytes(16 * 2**20 + 1), {}),
        (gzip.compress(example(7)), {"Content-Encoding": "gzip"}),
        (gzip.compress(bytes(17 * 2**20)), {"Content-Encoding": "gzip"}),
        (b"broken", {"Content-Encoding": "gzip"}),
        (b"broken", {"Content-Type": "multipart/form-data; boundary=b"}),
    ],
    ids=range(7),
)
def test_body_memory_is_released_after_the_response(data: bytes, headers: dict[str, str], client: FlaskClient) -> None:
    client.post("/predict", data=data, headers=headers)
    limiter = client.application.extensions["limiter"]
    limiter.hold(Settings().body_megabytes * 2**20)
    limiter.drop(Settings().body_megabytes * 2**20)


def test_full_service_still_serves_health_and_metrics(full: FlaskClient) -> None:
    assert full.post("/predict", data=example(7)).status_code == 503
    for path in ("/health/live", "/health/ready", "/v2/health/ready", "/metrics"):
        assert full.get(path).status_code == 200
    assert 'digits_requests_total{route="/predict",status="503"}' in full.get("/metrics").text


def test_batch_stops_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    client = create_app(Settings(deadline=1)).test_client()
    real = time.monotonic
    calls = iter(range(10**6))
    # Every read of the clock advances it by 0.1 s.
    monkeypatch.setattr("digits.tracing.time.monotonic", lambda: real() + next(calls) / 10)
    files = [(BytesIO(example(digit)), "x.png") for digit in range(10) for _ in range(5)]
    response = client.post("/predict/batch", data={"image": files})
    assert_error(response, 503, "the request passed its deadline")
    assert "digits_images_in_flight 0.0" in client.get("/metrics").text
