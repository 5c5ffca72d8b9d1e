import pytest
from flask.testing import FlaskClient

from service.app import create_app
from service.middleware import HEADERS
from service.settings import Settings
from tests.helpers.client import last_line
from tests.helpers.images import example


@pytest.mark.parametrize("path", ["/health/live", "/nowhere", "/metrics", "/page/main.js", "/"])
def test_security_headers(path: str, client: FlaskClient) -> None:
    with client.get(path) as response:  # closes the file that is sent
        headers = response.headers
    for name, value in HEADERS.items():
        assert headers[name] == value or (path == "/" and name == "Content-Security-Policy")
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        (None, "https://example.org", None),
        ("https://example.org,http://localhost:3000", "https://example.org", "https://example.org"),
        ("https://example.org,http://localhost:3000", "http://localhost:3000", "http://localhost:3000"),
        ("https://example.org", "https://example.org.evil.com", None),
        ("https://example.org", "https://exampleXorg", None),
        ("*", "https://anything.org", "https://anything.org"),
    ],
)
def test_cors(allowed: str | None, origin: str, expected: str | None) -> None:
    client = create_app(Settings(cors_origins=allowed)).test_client()
    headers = {"Origin": origin}
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    for response in (
        client.options("/predict", headers=headers | preflight),
        client.post("/predict", data=example(7), headers=headers),
        client.post("/predict", data=b"no image", headers=headers),
    ):
        assert response.headers.get("Access-Control-Allow-Origin") == expected
        assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    ("proxies", "client_address"), [(0, "127.0.0.1"), (1, "203.0.113.9"), (2, "198.51.100.7"), (3, "127.0.0.1")]
)
def test_trusted_proxies(proxies: int, client_address: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    client = create_app(Settings(trusted_proxies=proxies)).test_client()
    client.get("/health/live", headers={"X-Forwarded-For": "198.51.100.7, 203.0.113.9"})
    assert last_line(caplog)["client"] == client_address
