import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder, run_wsgi_app

from service.app import create_app
from service.load import BusyError, Gate
from service.record import DeadlineError
from service.settings import Settings
from tests.conftest import example
from tests.test_predict import assert_error


def soon() -> float:
    return time.monotonic() + 30


def test_so_many_enter_so_many_wait_and_the_rest_is_turned_away() -> None:
    gate, inside, leave = Gate(2, 1, 2**20), threading.Semaphore(0), threading.Event()

    def enter() -> None:
        with gate.admitted(soon()):
            inside.release()
            leave.wait()

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(enter) for _ in range(3)]
        assert inside.acquire(timeout=10)
        assert inside.acquire(timeout=10)
        while not gate._waiting:
            time.sleep(0.01)
        assert not inside.acquire(timeout=0.1)
        with pytest.raises(BusyError), gate.admitted(soon()):
            pass
        leave.set()
        for one in asking:
            one.result()
    with gate.admitted(soon()):
        pass


def test_turns_come_in_the_order_in_which_they_were_asked_for() -> None:
    gate, came = Gate(1, 10, 2**20), list[int]()

    def enter(number: int) -> None:
        with gate.admitted(soon()):
            came.append(number)

    with ThreadPoolExecutor(10) as pool, gate.admitted(soon()):
        for number in range(10):
            pool.submit(enter, number)
            while len(gate._waiting) <= number:
                time.sleep(0.001)
    assert came == list(range(10))


def test_whoever_waits_past_the_deadline_leaves_and_takes_no_place_with_him() -> None:
    gate = Gate(1, 1, 2**20)
    with gate.admitted(soon()):
        for _ in range(3):
            with pytest.raises(DeadlineError), gate.admitted(time.monotonic() + 0.01):
                pass


@pytest.fixture(scope="module")
def full() -> FlaskClient:
    """A service whose only place is taken."""
    app = create_app(Settings(concurrency=1, queue=0))
    app.extensions["gate"].enter(soon())
    return app.test_client()


@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_a_full_service_says_when_to_come_again(path: str, full: FlaskClient) -> None:
    response = full.post(path, data=example(7))
    assert_error(response, 503, "expected fewer requests at once")
    assert response.headers["Retry-After"] == "1"


def test_a_full_service_answers_before_it_has_read_the_body(full: FlaskClient) -> None:
    body = BytesIO(example(7))
    length = len(example(7))
    environ = EnvironBuilder("/predict", method="POST", input_stream=body, content_length=length).get_environ()
    pieces, status, _ = run_wsgi_app(full.application, environ)
    answer = iter(pieces)
    assert b"expected fewer requests at once" in next(answer)
    assert status.startswith("503")
    assert body.tell() == 0
    assert list(answer) == []
    assert body.tell() == length  # or the connection would be reset, and the answer lost


def test_a_full_service_answers_health_and_metrics(full: FlaskClient) -> None:
    for path in ("/health/live", "/health/ready", "/v2/health/ready", "/metrics"):
        assert full.get(path).status_code == 200
    assert 'digits_requests_total{route="/predict",status="503"}' in full.get("/metrics").text


def test_a_batch_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    client = create_app(Settings(deadline=1)).test_client()
    real = time.monotonic
    calls = iter(range(10**6))
    # Time runs: a tenth of a second at every look at the clock.
    monkeypatch.setattr("service.record.time.monotonic", lambda: real() + next(calls) / 10)
    files = [(BytesIO(example(digit)), "x.png") for digit in range(10) for _ in range(5)]
    response = client.post("/predict/batch", data={"image": files})
    assert_error(response, 503, "expected an answer in time")
    assert "digits_images_in_flight 0.0" in client.get("/metrics").text
