import pytest
from flask.testing import FlaskClient

from service.security import HEADERS


@pytest.mark.parametrize("path", ["/health/live", "/nowhere", "/metrics", "/page/main.js", "/"])
def test_every_answer_has_the_headers(path: str, client: FlaskClient) -> None:
    with client.get(path) as response:  # a file is closed with the answer that it is sent in
        headers = response.headers
    for name, value in HEADERS.items():
        assert headers[name] == value or (path == "/" and name == "Content-Security-Policy")
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
