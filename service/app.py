"""The Flask application."""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import IO, Any

from flask import Flask, Request
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import MapAdapter

from digits.decode import MAXIMUM_BYTES
from digits.registry import Registry, VersionFiles, read_versions
from service.access_log import register_observation
from service.admission import Limiter
from service.metrics import Metrics
from service.middleware import register_security
from service.request_body import register_bodies
from service.responses import register_errors
from service.routes.explain import explain
from service.routes.health import health
from service.routes.metrics import metrics as metrics_route
from service.routes.pages import pages
from service.routes.predict import predict
from service.routes.v2 import v2
from service.settings import Settings


class MemoryRequest(Request):
    """Keeps uploaded files in memory, which the limit on a body's size bounds; none ever reaches a disk."""

    def _get_file_stream(self, *_args: object, **_options: object) -> IO[bytes]:
        return BytesIO()


class NoSessions(SessionInterface):
    """Nobody logs in, so that there is nothing to look for in cookies."""

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return _NO_SESSION


_NO_SESSION = NullSession()


class Service(Flask):
    """Flask without what this service has not got: sessions, asynchronous views, host names that routes depend on."""

    session_interface = NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        if request is None:
            return super().create_url_adapter(request)
        return MapAdapter(self.url_map, "", request.root_path, "", request.scheme, request.path, request.method)


def create_app(
    settings: Settings | None = None, versions: Sequence[VersionFiles] | None = None, metrics: Metrics | None = None
) -> Flask:
    """Loads the model's versions, warms them up and gives the application that serves them.

    Reads the settings from the environment, and the files of the versions that they ask for, unless these are given.
    Raises SettingsError or ModelError.
    """
    settings = settings or Settings.from_environment()
    models = Registry(read_versions(settings) if versions is None else versions, settings)
    app = Service(__name__, static_folder=None)
    app.request_class = MemoryRequest
    app.url_map.merge_slashes = False  # a redirect would be HTML
    app.config["MAX_CONTENT_LENGTH"] = MAXIMUM_BYTES
    app.extensions["settings"] = settings
    app.extensions["registry"] = models
    app.extensions["limiter"] = Limiter(settings.concurrency, settings.queue, settings.body_megabytes * 2**20)
    register_observation(app, models, metrics or Metrics(), settings.deadline)
    register_security(app, settings)
    for routes in (predict, explain, v2, health, metrics_route, pages):
        app.register_blueprint(routes)
    register_errors(app)
    register_bodies(app)
    return app
