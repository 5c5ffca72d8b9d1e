import json
import logging
import re
import socket
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.access_log import AccessLog
from service.admission import Limiter
from service.metrics import Metrics
from tests.helpers.client import last_line
from tests.helpers.images import example
from tests.helpers.service import metric, receive, samples, send_raw, serving


def test_one_line_per_request_without_the_image(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    response = client.post("/predict?secret=1", data=example(7), headers={"Authorization": "Bearer xyz"})
    line = last_line(caplog)
    assert line["request_id"] == response.headers["X-Request-ID"]
    assert (line["method"], line["path"], line["route"], line["status"]) == ("POST", "/predict", "/predict", 200)
    assert line["bytes"] == len(example(7))
    assert line["outcomes"] == {"digit": 1}
    assert {"decode_seconds", "prepare_seconds", "inference_seconds", "seconds"} <= set(line)
    assert not re.search("secret|Bearer|xyz", repr(line))


def test_request_id_and_trace_id_are_accepted(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"X-Request-ID": "abc-1", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    response = client.get("/health/live", headers=headers)
    assert response.headers["X-Request-ID"] == "abc-1"
    assert re.fullmatch(f"00-{trace}-[0-9a-f]{{16}}-01", response.headers["traceparent"])
    assert "b7ad6b7169203331" not in response.headers["traceparent"]
    assert last_line(caplog)["trace_id"] == trace


def test_later_traceparent_versions_may_have_more_fields(client: FlaskClient) -> None:
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
def test_missing_or_invalid_ids_are_replaced(headers: dict[str, str], client: FlaskClient) -> None:
    response = client.get("/health/live", headers=headers)
    assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-ID"])
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", response.headers["traceparent"])


def test_metrics_count_by_route_and_status_not_by_path(client: FlaskClient) -> None:
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


class Slow(deque[Any]):
    """Lets other threads run between the check for entries and their removal."""

    def __bool__(self) -> bool:
        has_entries = len(self) > 0
        time.sleep(0.001)
        return has_entries


def test_concurrent_flushes_count_each_request_once() -> None:
    metrics = Metrics()
    log = AccessLog(metrics, Limiter(1, 1, 1))
    log.deferred, log._waiting = True, Slow()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            log.add_unparsed(400, None, 0.0, "InvalidRequestLine")
            for one in [pool.submit(log.flush) for _ in range(4)]:
                one.result()
    found = samples(metrics.text().decode())
    assert found["digits_requests_total", (("route", "unknown"), ("status", "400"))] == 20


def test_requests_that_gunicorn_rejects_are_counted_and_logged(tmp_path: Path) -> None:
    requests = {
        "400": b"NONSENSE\r\n\r\n",
        "414": b"GET /" + b"x" * 10000 + b" HTTP/1.1\r\n\r\n",
        "431": b"GET / HTTP/1.1\r\nX: " + b"x" * 10000 + b"\r\n\r\n",
        "501": b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\n\r\n",
    }
    with serving(log=tmp_path / "log", DIGITS_LOG="json", DIGITS_DEADLINE="1") as (port, _):
        for status, data in requests.items():
            assert send_raw(port, data).split()[1].decode() == status
        with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
            slow.sendall(b"POST /predict HT")
            assert receive(slow).split()[1] == b"408"
        for status in (*requests, "408"):
            assert metric(port, "digits_requests_total", route="unknown", status=status) == 1
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    faults = {line["status"]: line["fault"] for line in lines if line.get("route") == "unknown"}
    assert set(faults) == {400, 408, 414, 431, 501}
    assert faults[400] == "InvalidRequestLine"
    assert all(line["client"] == "127.0.0.1" for line in lines if line.get("route") == "unknown")
