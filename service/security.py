"""Headers that keep browsers from doing with an answer what it is not for; whose pages may ask, and which proxies are
believed."""

from flask import Flask, Response
from flask_cors import CORS
from werkzeug.middleware.proxy_fix import ProxyFix

from service.settings import Settings

HEADERS = {
    # An answer is no page; the pages here say themselves what they may load.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


# What a page of another origin may read of an answer's headers.
READABLE = ["Inference-Header-Content-Length", "Retry-After", "X-Request-ID"]


def register_security(app: Flask, settings: Settings) -> None:
    app.after_request(_secure)
    if settings.cors_origins:
        CORS(app, origins=settings.cors_origins.split(","), expose_headers=READABLE, max_age=600)
    if count := settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=count)  # type: ignore[method-assign]


def _secure(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
