"""Security headers, CORS, and trusted proxies."""

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask
from flask_cors import CORS
from werkzeug.middleware.proxy_fix import ProxyFix

from service.settings import Settings

HEADERS = {
    # For responses that are not pages; pages set their own policy.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# Response headers that pages of other origins may read.
READABLE = ["Inference-Header-Content-Length", "Retry-After", "X-Request-ID"]


def register_security(app: Flask, settings: Settings) -> None:
    app.wsgi_app = _secured(app.wsgi_app)  # type: ignore[method-assign, assignment]
    if settings.cors_origins:
        CORS(app, origins=settings.cors_origins.split(","), expose_headers=READABLE, max_age=600)
    if count := settings.trusted_proxies:
        trusted = dict.fromkeys(("x_for", "x_proto", "x_host", "x_prefix"), count)
        app.wsgi_app = ProxyFix(app.wsgi_app, **trusted)  # type: ignore[method-assign]


def _secured(application: WSGIApplication) -> WSGIApplication:
    """WSGI middleware that adds HEADERS to responses that do not set them."""

    def secured(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:  # noqa: ANN401 - as WSGI has it
            own = {name for name, _ in headers}
            return start_response(status, headers + [one for one in HEADERS.items() if one[0] not in own], *error)

        return application(environ, start)

    return secured
