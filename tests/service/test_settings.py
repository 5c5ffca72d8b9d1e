from dataclasses import Field, fields
from pathlib import Path

import pytest

from digits.settings import ModelSettings, SettingsError
from service.settings import Host, Settings


def test_defaults() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings()
    assert settings.model_path.name == "model.onnx"


def test_environment_is_read_and_empty_means_unset() -> None:
    environment = {
        "PORT": "9000",
        "HOST": "::1",
        "DIGITS_QUEUE": "2",
        "DIGITS_MINIMUM_IS_DIGIT": "0",
        "DIGITS_MINIMUM_CONFIDENCE": ".75",
        "DIGITS_MODEL": "/m.onnx",
        "DIGITS_PROVIDER": "",
    }
    settings = Settings.from_environment(environment)
    assert settings == Settings(
        host=Host("::1"), port=9000, queue=2, minimum_is_digit=0, minimum_confidence=0.75, model=Path("/m.onnx")
    )
    assert settings.model_path == Path("/m.onnx")


def test_model_may_be_the_folder_of_one_version(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    assert Settings(model=tmp_path).model_paths == [tmp_path / "model.onnx"]


def test_kubernetes_service_variables_are_ignored() -> None:
    environment = {
        "DIGITS_SERVICE_HOST": "10.0.0.1",
        "DIGITS_SERVICE_PORT": "80",
        "DIGITS_SERVICE_PORT_HTTP": "80",
        "DIGITS_PORT": "tcp://10.0.0.1:80",
        "DIGITS_PORT_80_TCP": "tcp://10.0.0.1:80",
        "DIGITS_PORT_80_TCP_PROTO": "tcp",
        "DIGITS_PORT_80_TCP_PORT": "80",
        "DIGITS_PORT_80_TCP_ADDR": "10.0.0.1",
        "DIGITS_PREDICTOR_SERVICE_HOST": "10.0.0.1",
        "DIGITS_PREDICTOR_PORT": "tcp://10.0.0.1:80",
    }
    assert Settings.from_environment(environment) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DIGITS_PORT", "9000", "DIGITS_PORT: no such setting; did you mean PORT?"),
        ("DIGITS_PROVIDR", "cpu", "DIGITS_PROVIDR: no such setting; did you mean DIGITS_PROVIDER?"),
        ("DIGITS_X", "1", "DIGITS_X: no such setting"),
        ("DIGITS_PROVIDER", "gpu", "DIGITS_PROVIDER: expected one of auto, cpu, cuda; got 'gpu'"),
        ("PORT", "http", "PORT: expected a whole number, 0 to 65535; got 'http'"),
        ("PORT", "70000", "PORT: expected a whole number, 0 to 65535; got '70000'"),
        ("PORT", "-1", "PORT: expected a whole number"),
        ("PORT", "--1", "PORT: expected a whole number"),
        ("DIGITS_MINIMUM_IS_DIGIT", "1.5", "DIGITS_MINIMUM_IS_DIGIT: expected a number, 0 to 1; got '1.5'"),
        ("DIGITS_MINIMUM_CONFIDENCE", "high", "DIGITS_MINIMUM_CONFIDENCE: expected a number, 0 to 1; got 'high'"),
        ("DIGITS_MINIMUM_CONFIDENCE", "nan", "DIGITS_MINIMUM_CONFIDENCE: expected a number, 0 to 1; got 'nan'"),
        ("DIGITS_CONCURRENCY", "0", "DIGITS_CONCURRENCY: expected a whole number, 1 to 256; got '0'"),
        (
            "DIGITS_CORS_ORIGINS",
            "example.org",
            "expected * or origins such as https://example.org, separated by commas",
        ),
        ("DIGITS_CORS_ORIGINS", "https://a.org, https://b.org", "expected * or origins such as https://example.org"),
        ("DIGITS_TRUSTED_PROXIES", "-1", "DIGITS_TRUSTED_PROXIES: expected a whole number, 0 to 16; got '-1'"),
        ("DIGITS_WORKERS", "2.5", "DIGITS_WORKERS: expected a whole number, 0 to 1024; got '2.5'"),
        ("HOST", "localhost:8000", "HOST: expected an IP address or a host name; got 'localhost:8000'"),
        ("HOST", "http://localhost", "HOST: expected an IP address or a host name"),
        ("HOST", "unix:/run/digits", "HOST: expected an IP address or a host name"),
        ("HOST", "[localhost]", "HOST: expected an IP address or a host name"),
        ("HOST", "[::1", "HOST: expected an IP address or a host name"),
        ("HOST", "::g", "HOST: expected an IP address or a host name"),
        ("HOST", "256.0.0.1", "HOST: expected an IP address or a host name"),
        ("HOST", "two words", "HOST: expected an IP address or a host name"),
        ("HOST", "x" * 254, "HOST: expected an IP address or a host name"),
    ],
)
def test_invalid_settings(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({name: value})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "host", ["localhost", "my_pod-0.example.org", "0.0.0.0", "127.1", "::", "::1", "[::1]", "fe80::1%eth0"]
)
def test_valid_hosts(host: str) -> None:
    assert Settings.from_environment({"HOST": host}).host == host.strip("[]")


@pytest.mark.parametrize("one", fields(Settings), ids=lambda one: one.name)
@pytest.mark.parametrize("text", ["9" * 5000, "-" + "9" * 5000, "0" * 5000, "." + "9" * 5000, "x" * 5000])
def test_errors_about_long_values_are_short(one: Field[object], text: str) -> None:
    try:
        Settings.from_environment({one.metadata["variable"]: text})
    except SettingsError as error:
        assert len(str(error)) < 300
        assert "\n" not in str(error)


def test_model_settings_ignore_the_servers_settings() -> None:
    assert ModelSettings.from_environment({"DIGITS_LOG": "json", "DIGITS_QUEUE": "x"}) == ModelSettings()
    with pytest.raises(SettingsError, match="DIGITS_MODLE: no such setting; did you mean DIGITS_MODEL"):
        ModelSettings.from_environment({"DIGITS_MODLE": "/m.onnx"})


def test_unreadable_model_path_is_left_to_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(Path, "is_dir", denied)
    assert Settings(model=Path("/model/model.onnx")).model_paths == [Path("/model/model.onnx")]


def test_highest_version_is_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("digits.settings.MODELS", tmp_path)
    with pytest.raises(SettingsError, match="got none"):
        _ = Settings().model_path
    for version in ("2", "10", "draft", "0", "007"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "model.onnx").touch()
    assert Settings().model_paths == [tmp_path / version / "model.onnx" for version in ("10", "2")]
    assert Settings(model=tmp_path).model_path == tmp_path / "10" / "model.onnx"
