"""The Flask application."""

from flask import Flask

from service.classifier import Classifier
from service.decode import MAXIMUM_BYTES
from service.errors import register_errors
from service.health import health
from service.predict import predict
from service.settings import Settings


def create_app(settings: Settings | None = None) -> Flask:
    """Loads the model, warms it up and gives the application that serves it.

    Reads the settings from the environment unless they are given. Raises SettingsError or ModelError.
    """
    settings = settings or Settings.from_environment()
    classifier = Classifier(settings.model_path, settings.provider)
    classifier.warm_up()
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAXIMUM_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["classifier"] = classifier
    app.register_blueprint(predict)
    app.register_blueprint(health)
    register_errors(app)
    return app
