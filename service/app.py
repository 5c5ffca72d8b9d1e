"""The Flask application."""

from collections.abc import Sequence
from io import BytesIO
from typing import IO

from flask import Flask, Request
from werkzeug.routing import MapAdapter

from digits.decode import MAXIMUM_BYTES
from digits.registry import Registry, read_versions
from digits.version import VersionFiles
from service.access_log import register_observation
from service.admission import Limiter
from service.errors import register_errors
from service.metrics import Metrics
from service.middleware import register_security
from service.request_body import register_bodies
from service.routes.explain import explain
from service.routes.health import health
from service.routes.metrics import metrics as metrics_route
from service.routes.pages import pages
from service.routes.predict import predict
from service.routes.read import read
from service.routes.v1 import v1
from service.routes.v2 import v2
from service.settings import Settings


class MemoryRequest(Request):
    """Keeps uploaded files in memory, which the limit on bodies bounds, and never on disk."""

    def _get_file_stream(self, *_args: object, **_options: object) -> IO[bytes]:
        return BytesIO()


class Service(Flask):
    """Routes by path and method only: unusual `Host` headers and offers of WebSocket would otherwise get 400."""

    request_class = MemoryRequest

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        if request is None:
            return super().create_url_adapter(request)
        return MapAdapter(self.url_map, "", request.root_path, "", request.scheme, request.path, request.method)


def create_app(
    settings: Settings | None = None, versions: Sequence[VersionFiles] | None = None, metrics: Metrics | None = None
) -> Flask:
    """The application that serves the model's versions, loaded and warmed up.

    Settings default to the environment's, `versions` to those that the settings name. Raises SettingsError and
    ModelError.
    """
    settings = settings or Settings.from_environment()
    models = Registry(read_versions(settings) if versions is None else versions, settings)
    app = Service(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # a redirect would be HTML
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = MAXIMUM_BYTES
    app.extensions["registry"] = models
    app.extensions["limiter"] = Limiter(settings.concurrency, settings.queue, settings.body_megabytes * 2**20)
    for routes in (predict, read, explain, v1, v2, health, metrics_route, pages):
        app.register_blueprint(routes)
    register_errors(app)
    register_observation(app, models, metrics or Metrics(), settings.deadline)
    register_security(app, settings)
    register_bodies(app)
    return app
