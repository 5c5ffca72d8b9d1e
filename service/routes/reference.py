"""`GET /openapi.json` and `/docs`: what every route takes and gives, for programs and for people."""

import re
from typing import Any

import msgspec
from flask import Blueprint, Response, current_app, render_template, send_from_directory
from markupsafe import Markup, escape

from digits import tracing
from service.openapi import document
from service.operations import Operation, described, json
from service.responses import reply
from service.routes.page import POLICY, STATIC, file_of

reference = Blueprint("reference", __name__)


@reference.get("/openapi.json")
@described(Operation({200: json({"type": "object"})}))
def openapi() -> Response:
    """Gives this document."""
    return reply(_document())


@reference.get("/docs")
@described(Operation({200: {"text/html": str}}))
def show() -> Response:
    """The page to read this document on, and to try it out."""
    response = Response(render_template("docs.html", document=_document()))
    response.headers["Content-Security-Policy"] = POLICY
    return response


@reference.get("/docs/<name>")
@described(file_of("docs.css"))
def file(name: str) -> Response:
    """A file of the page to read this document on."""
    return send_from_directory(STATIC / "docs", name)


def _document() -> dict[str, Any]:
    """The document, made on first use: routes and types do not change."""
    if "document" not in current_app.extensions:
        tracing.end()  # the image that is read for the examples is nobody's, and is not counted
        current_app.extensions["document"] = document(current_app)
    return current_app.extensions["document"]


@reference.app_template_filter("operations")
def _operations(document: dict[str, Any], tag: str) -> list[tuple[str, str, dict[str, Any]]]:
    """The path, the method and the operation of all that have a tag."""
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if tag in operation["tags"]
    ]


@reference.app_template_filter("by_schema")
def _by_schema(content: dict[str, Any]) -> list[tuple[dict[str, Any], list[str]]]:
    """The schemas of a body, each with all media types that have it."""
    found: list[tuple[dict[str, Any], list[str]]] = []
    for name, one in content.items():
        schema = one.get("schema", {})
        if not found or found[-1][0] != schema:
            found.append((schema, []))
        found[-1][1].append(name)
    return found


@reference.app_template_filter("json")
def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


@reference.app_template_filter("code")
def _code(text: str) -> Markup:
    """Text in which what stands between backticks is code."""
    return Markup(re.sub("`(.+?)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before
