"""The web pages: `GET /` to draw digits, `GET /docs` for the API; and `GET /openapi.json`, the API for programs."""

import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
from flask import Blueprint, Response, current_app, render_template, request, send_from_directory
from markupsafe import Markup, escape

from digits import tracing
from digits.classifier import Classifier
from service.context import recognizer
from service.openapi import Operation, document, json, parameter
from service.responses import reply

pages = Blueprint("pages", __name__)

STATIC = Path(__file__).resolve().parents[1] / "static"
# Only this host, and nothing inline. Images are drawn from bytes, so not even `blob:` is needed.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HTML = {"text/html": {"schema": str}}
# The images that the page offers to try, made by benchmarks/accuracy/samples.py: file and name.
SAMPLES = (
    ("digit.jpg", "A digit"),
    ("crop.jpg", "A tight crop"),
    ("number.jpg", "A number"),
    ("page.jpg", "A page"),
    ("smiley.jpg", "Not a digit"),
)


def _html(template: str, **values: Any) -> Response:  # noqa: ANN401 - the template decides
    response = Response(render_template(template, **values))
    response.headers["Content-Security-Policy"] = POLICY
    return response


@pages.get("/")
@Operation({200: HTML})
def index() -> Response:
    """Returns the page to draw digits on. It also shows the served model's facts and figures."""
    classifier = recognizer().classifier
    figures = card_figures(classifier.path, classifier.version)
    facts = _facts(classifier)
    return _html("index.html", version=classifier.version, facts=facts, figures=figures, samples=SAMPLES)


@pages.get("/docs")
@Operation({200: HTML})
def docs() -> Response:
    """Returns this document as a page, with forms to try the API."""
    document = _document()
    operations = [
        (method.upper(), path, one) for path, methods in document["paths"].items() for method, one in methods.items()
    ]
    groups = [(tag, list(group)) for tag, group in groupby(operations, key=lambda one: one[2]["tags"][0])]
    return _html("docs.html", document=document, groups=groups)


@pages.get("/openapi.json")
@Operation({200: json({"type": "object"})})
def openapi() -> Response:
    """Returns this document."""
    return reply(_document())


def _file_of(page: str, example: str) -> Callable[[str], Response]:
    @Operation(
        {
            200: {name: {"schema": str} for name in ("text/css", "text/javascript", "image/svg+xml", "image/jpeg")},
            304: {},
        },
        parameters=(
            parameter("path", "name", str, "The file's name.", example),
            parameter("header", "If-None-Match", str, "The `ETag` of a cached file."),
        ),
        errors=(404,),
        headers={"ETag": "Changes when the file does."},
    )
    def file(name: str) -> Response:
        """Returns a script, a style sheet or an image of a page."""
        return send_from_directory(STATIC / page, name)

    return file


pages.add_url_rule("/page/<name>", "page_file", _file_of("page", "style.css"))
pages.add_url_rule("/samples/<name>", "sample_file", _file_of("samples", "digit.jpg"))
pages.add_url_rule("/docs/<name>", "docs_file", _file_of("docs", "docs.css"))


def _document() -> dict[str, Any]:
    """The OpenAPI document, built on first use and cached: all but the service's prefix never changes."""
    if "document" not in current_app.extensions:
        tracing.end()  # the metrics must not count the example image
        current_app.extensions["document"] = document(current_app)
    return current_app.extensions["document"] | {"servers": [{"url": f"{request.root_path}/"}]}


@pages.app_template_filter("json")
def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


@pages.app_template_filter("code")
def _code(text: str) -> Markup:
    """Text with everything between backticks as <code>."""
    return Markup(re.sub("`(.+?)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def _facts(classifier: Classifier) -> dict[str, str]:
    metadata = classifier.metadata
    counts = {name: int(value) for name, value in metadata.items() if value.isdigit()}
    facts = {
        "name and version": f"{classifier.model['name']}, version {classifier.version}",
        "formula": metadata.get("formula", ""),
        "parameters": f"{counts['parameters']:,}" if "parameters" in counts else "",
        "multiply-adds per image": f"{counts['multiply_adds']:,}" if "multiply_adds" in counts else "",
        "runs on": classifier.provider.upper(),
    }
    if "test_images" in counts:
        correct, images = counts["test_correct"], counts["test_images"]
        facts["MNIST test set"] = f"{correct / images:.2%} accuracy ({correct:,} of {images:,} images)"
    return {name: value for name, value in facts.items() if value}


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
