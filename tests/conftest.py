"""Fixtures for all tests, and the split into fast and slow tests."""

import os

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, settings

from digits.classifier import Classifier
from digits.recognizer import Recognizer
from service.app import create_app
from service.settings import Settings

# One thread per test process: tests run in parallel, and PyTorch's threads spin while they wait.
os.environ["OMP_NUM_THREADS"] = "1"

# On a busy machine the duration of an example means nothing.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# Failed assertions in helpers show their values too.
pytest.register_assert_rewrite("tests.helpers")

# The markers of slow tests and what they need.
SLOW = {
    "browser": "Chromium and Debian's nginx",
    "campaign": "minutes",
    "clients": "packages that they install",
    "container": "a Docker engine, and Debian's docker-compose, haproxy and prometheus",
    "kills": "minutes",
    "fuzz": "minutes, and Linux on x86-64",
    "load": "Debian's wrk and nghttp2-client",
    "prometheus": "Debian's prometheus",
    "ray": "the extra ray, and a package that they install",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the slow tests too: " + ", ".join(SLOW))
    parser.addoption("--full-campaigns", action="store_true", help="full campaigns: 5 minutes of load, 1,000 kills")
    parser.addoption("--no-skips", action="store_true", help="a skipped test fails the run")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects slow tests unless --slow is given; `pytest_terminal_summary` reports it."""
    if config.getoption("--slow"):
        return
    slow = [item for item in items if any(item.get_closest_marker(marker) for marker in SLOW)]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("--slow"):
        terminalreporter.write_line(
            "Left out, run by `make test-all`: "
            + ", ".join(f"the tests marked {marker} (need {need})" for marker, need in SLOW.items())
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and session.config.getoption("--no-skips") and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own environment must not change the service's settings."""
    for name in list(os.environ):
        if name.startswith("DIGITS_") or name in ("HOST", "PORT"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def recognizer() -> Recognizer:
    """The shipped model with the default thresholds."""
    return Recognizer(Settings().model_path, "cpu")


@pytest.fixture(scope="session")
def classifier(recognizer: Recognizer) -> Classifier:
    """The shipped model."""
    return recognizer.classifier


@pytest.fixture
def client() -> FlaskClient:
    return create_app(Settings(provider="cpu")).test_client()
