"""`GET /`: a page to draw on, which shows the answer and the network at work; its files lie in `static/page/`."""

import re
from pathlib import Path

from flask import Blueprint, Response, render_template, send_from_directory

from service.operations import Operation, Parameter, described
from service.routes.predict import recognizer

page = Blueprint("page", __name__)

STATIC = Path(__file__).resolve().parents[1] / "static"

# Only what comes from here, and nothing inline: an image is drawn from bytes, so not even `blob:` is needed.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@page.get("/")
@described(Operation({200: {"text/html": str}}))
def index() -> Response:
    """The page to draw on, with the facts and figures of the model that is served."""
    metadata = recognizer().classifier.metadata
    response = Response(
        render_template(
            "index.html",
            formula=metadata.get("formula", ""),
            version=recognizer().model["version"],
            facts=_facts(metadata),
            figures=card_figures(recognizer().classifier.path, recognizer().model["version"]),
        )
    )
    response.headers["Content-Security-Policy"] = POLICY
    return response


def file_of(example: str) -> Operation:
    """What a route gives that gives a page's files."""
    return Operation(
        {200: {"text/css": str, "text/javascript": str, "image/svg+xml": str}, 304: {}},
        parameters=(
            Parameter("path", "name", str, "The file's name.", example),
            Parameter("header", "If-None-Match", str, "The `ETag` of a file that is kept."),
        ),
        errors=(404,),
        headers={"ETag": "The same until the file changes."},
    )


@page.get("/page/<name>")
@described(file_of("style.css"))
def file(name: str) -> Response:
    """A file of the page to draw on."""
    return send_from_directory(STATIC / "page", name)


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
    """Name, value and n of the figures in the model card, two folders above the model's; none of another version's."""
    try:
        card = (model.parents[2] / "README.md").read_text(encoding="utf-8")
    except (OSError, IndexError):
        return []
    if not re.match(rf"# Model card: \w+, version {re.escape(version)}\n", card):
        return []
    return re.findall(r"^\| ([^|]+) \| ([0-9.]+ ?% \([^|]+\)) \| ([0-9,]+) \|$", card, re.MULTILINE)
