from flask.testing import FlaskClient

from service.settings import Settings


def test_live(client: FlaskClient) -> None:
    assert client.get("/health/live").json == {"live": True}


def test_ready(client: FlaskClient) -> None:
    assert client.get("/health/ready").json == {
        "ready": True,
        "live": True,
        "model": {"name": "digits", "version": Settings().model_path.parent.name},
        "versions": [path.parent.name for path in Settings().model_paths],
        "provider": "cpu",
    }
