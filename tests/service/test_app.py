from pathlib import Path

import pytest
from flask.testing import FlaskClient

from digits.classifier import Classifier
from digits.session import ModelError
from digits.settings import SettingsError
from service.app import create_app
from service.settings import Settings


def test_models_are_warmed_up_once_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    warm_up = Classifier.warm_up
    monkeypatch.setattr(Classifier, "warm_up", lambda self: calls.append(warm_up(self)))
    app = create_app(Settings(provider="cpu"))
    assert len(calls) == len(Settings().model_paths)
    calls.clear()
    with app.test_client() as client:
        client.get("/health/ready")
    assert calls == []


def test_missing_model_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        create_app(Settings(model=tmp_path / "model.onnx"))


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS_PROVIDER", "none")
    with pytest.raises(SettingsError, match="DIGITS_PROVIDER"):
        create_app()


@pytest.mark.parametrize("headers", [{"Host": "x" * 3000}, {"Connection": "Upgrade", "Upgrade": "websocket"}])
def test_requests_are_routed_by_path_and_method_only(headers: dict[str, str], client: FlaskClient) -> None:
    assert client.get("/health/live", headers=headers).status_code == 200
