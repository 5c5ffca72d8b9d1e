import logging
import re
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask.testing import FlaskClient

from service.access_log import AccessLog, Observation
from service.admission import Limiter
from service.metrics import Metrics
from tests.helpers.client import last_line
from tests.helpers.images import example
from tests.helpers.service import samples


def test_a_line_a_request_without_the_image(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    response = client.post("/predict?secret=1", data=example(7), headers={"Authorization": "Bearer xyz"})
    line = last_line(caplog)
    assert line["request_id"] == response.headers["X-Request-ID"]
    assert (line["method"], line["path"], line["route"], line["status"]) == ("POST", "/predict", "/predict", 200)
    assert line["bytes"] == len(example(7))
    assert line["outcomes"] == {"digit": 1}
    assert {"decode_seconds", "prepare_seconds", "inference_seconds", "seconds"} <= set(line)
    assert not re.search("secret|Bearer|xyz", repr(line))


def test_numbers_and_traces_are_taken(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"X-Request-ID": "abc-1", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    response = client.get("/health/live", headers=headers)
    assert response.headers["X-Request-ID"] == "abc-1"
    assert re.fullmatch(f"00-{trace}-[0-9a-f]{{16}}-01", response.headers["traceparent"])
    assert "b7ad6b7169203331" not in response.headers["traceparent"]
    assert last_line(caplog)["trace_id"] == trace


def test_later_version_of_the_trace_header_may_say_more(client: FlaskClient) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    for more in ("", "-", "-more"):
        headers = {"traceparent": f"01-{trace}-b7ad6b7169203331-01{more}"}
        answered = client.get("/health/live", headers=headers).headers["traceparent"]
        assert re.fullmatch(f"00-{trace}-[0-9a-f]{{16}}-01", answered)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Request-ID": "a b", "traceparent": "nonsense"},
        {"X-Request-ID": "x" * 129, "traceparent": f"00-{'0' * 32}-b7ad6b7169203331-01"},
        {"X-Request-ID": "", "traceparent": f"ff-{'1' * 32}-b7ad6b7169203331-01"},
        {"traceparent": f"00-{'1' * 32}-b7ad6b7169203331-01-extra"},
        {"traceparent": f"00-{'1' * 32}-b7ad6b7169203331-01-"},
        {"traceparent": f"01-{'1' * 32}-b7ad6b7169203331-01extra"},
    ],
)
def test_numbers_and_traces_are_given_where_none_that_can_be_used_came(
    headers: dict[str, str], client: FlaskClient
) -> None:
    response = client.get("/health/live", headers=headers)
    assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-ID"])
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", response.headers["traceparent"])


def test_counts_by_route_and_status_and_no_path_from_outside(client: FlaskClient) -> None:
    client.post("/predict", data=example(1))
    client.post("/predict", data=b"no image")
    client.get("/wp-login.php")
    response = client.get("/metrics")
    assert response.content_type.startswith("text/plain; version=0.0.4")
    assert "wp-login" not in response.text
    found = samples(response.text)

    def requests(route: str, status: str) -> float:
        return found["digits_requests_total", (("route", route), ("status", status))]

    assert requests("/predict", "200") >= 1
    assert requests("/predict", "400") >= 1
    assert requests("unknown", "404") >= 1
    assert found["digits_images_total", (("outcome", "digit"),)] >= 1
    assert found["digits_images_total", (("outcome", "broken image"),)] >= 1
    for stage in ("decode", "prepare", "inference"):
        assert found["digits_stage_seconds_count", (("stage", stage),)] >= 1


class Slow(deque[Observation]):
    """Lets other threads run between a look at whether there is anything and what follows from it."""

    def __bool__(self) -> bool:
        anything = len(self) > 0
        time.sleep(0.001)
        return anything


def test_threads_that_flush_at_once_count_every_request_once() -> None:
    metrics = Metrics()
    observations = AccessLog(metrics, Limiter(1, 1, 1))
    observations.deferred, observations._waiting = True, Slow()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            observations.add_unparsed(400, None, 0.0, "InvalidRequestLine")
            for one in [pool.submit(observations.flush) for _ in range(4)]:
                one.result()
    found = samples(metrics.text().decode())
    assert found["digits_requests_total", (("route", "unknown"), ("status", "400"))] == 20
