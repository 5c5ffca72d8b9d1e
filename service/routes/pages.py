"""The pages for people: `GET /` to draw on, `GET /docs` to read the API on, and `/openapi.json` for programs."""

import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
from flask import Blueprint, Response, current_app, render_template, send_from_directory
from markupsafe import Markup, escape

from digits import tracing
from service.current import recognizer
from service.openapi import Operation, document, json, parameter
from service.responses import reply

pages = Blueprint("pages", __name__)

STATIC = Path(__file__).resolve().parents[1] / "static"
# Only what comes from here, and nothing inline: an image is drawn from bytes, so not even `blob:` is needed.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HTML = {"text/html": {"schema": str}}


def _html(template: str, **values: Any) -> Response:  # noqa: ANN401 - what the template shows
    response = Response(render_template(template, **values))
    response.headers["Content-Security-Policy"] = POLICY
    return response


@pages.get("/")
@Operation({200: HTML})
def index() -> Response:
    """The page to draw on, with the facts and figures of the served model."""
    classifier = recognizer().classifier
    metadata, version = classifier.metadata, classifier.version
    return _html(
        "index.html",
        formula=metadata.get("formula", ""),
        version=version,
        facts=_facts(metadata),
        figures=card_figures(classifier.path, version),
    )


@pages.get("/docs")
@Operation({200: HTML})
def docs() -> Response:
    """The page to read this document on, and to try it out."""
    document = _document()
    operations = [
        (method.upper(), path, one) for path, methods in document["paths"].items() for method, one in methods.items()
    ]
    groups = [(tag, list(group)) for tag, group in groupby(operations, key=lambda one: one[2]["tags"][0])]
    return _html("docs.html", document=document, groups=groups)


@pages.get("/openapi.json")
@Operation({200: json({"type": "object"})})
def openapi() -> Response:
    """Gives this document."""
    return reply(_document())


def _file_of(page: str, example: str) -> Callable[[str], Response]:
    @Operation(
        {200: {name: {"schema": str} for name in ("text/css", "text/javascript", "image/svg+xml")}, 304: {}},
        parameters=(
            parameter("path", "name", str, "The file's name.", example),
            parameter("header", "If-None-Match", str, "The `ETag` of a cached file."),
        ),
        errors=(404,),
        headers={"ETag": "The same until the file changes."},
    )
    def file(name: str) -> Response:
        """A file of the page."""
        return send_from_directory(STATIC / page, name)

    return file


pages.add_url_rule("/page/<name>", "page_file", _file_of("page", "style.css"))
pages.add_url_rule("/docs/<name>", "docs_file", _file_of("docs", "docs.css"))


def _document() -> dict[str, Any]:
    """The document, made on first use: routes and types do not change."""
    if "document" not in current_app.extensions:
        tracing.end()  # the example image must not be counted
        current_app.extensions["document"] = document(current_app)
    return current_app.extensions["document"]


@pages.app_template_filter("json")
def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


@pages.app_template_filter("code")
def _code(text: str) -> Markup:
    """Text with what is between backticks as code."""
    return Markup(re.sub("`(.+?)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def _facts(metadata: dict[str, str]) -> dict[str, str]:
    facts = {
        "name and version": f"{recognizer().model['name']}, version {recognizer().model['version']}",
        "formula": metadata.get("formula"),
        "parameters": _grouped(metadata.get("parameters")),
        "multiply-adds an image": _grouped(metadata.get("multiply_adds")),
        "runs on": recognizer().classifier.provider.upper(),
    }
    if "test_images" in metadata:
        right, count = int(metadata["test_correct"]), int(metadata["test_images"])
        facts["MNIST test set"] = f"{right / count:.2%} right ({_grouped(str(right))} of {_grouped(str(count))})"
    return {name: value for name, value in facts.items() if value}


def _grouped(number: str | None) -> str | None:
    return f"{int(number):,}" if number else None


def card_figures(model: Path, version: str) -> list[tuple[str, str, str]]:
    """Name, value and n of the published figures, two folders above the model; none if they are another version's."""
    try:
        published = msgspec.json.decode((model.parents[2] / "figures.json").read_bytes())
        return [
            (one["name"], f"{one['value']:.2%} ({one['low']:.2%} to {one['high']:.2%})", f"{one['count']:,}")
            for one in published["figures"]
            if published["version"] == version
        ]
    except (OSError, LookupError, TypeError, ValueError, msgspec.DecodeError):  # no such file, or a foreign one
        return []
