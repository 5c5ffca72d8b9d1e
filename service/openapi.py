"""The OpenAPI document at `/openapi.json`, generated from the types that each route declares.

Routes declare parts of the document as they will appear there, with a Python type in place of each schema and a
function in place of each example. None of this runs while requests are served.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import FunctionType
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from flask import Flask
from msgspec import Meta, Struct
from werkzeug.routing import Rule

from digits import __version__
from digits.decode import FORMATS
from digits.settings import VERSION
from service.context import registry
from service.request_body import ENCODINGS, MAXIMUM_IMAGES
from service.responses import Error

View = TypeVar("View", bound=Callable[..., Any])
# OpenAPI's map of media types.
Content = dict[str, Any]
DESCRIPTION = """\
Recognizes handwritten digits, with a confidence, and rejects images without one.

Every error is JSON, `{"error": "<message>"}`, including those for an unknown path (404), a \
method that is not allowed (405, with `Allow`) and a malformed request (400, 414, 431).
"""
# Groups of operations by blueprint.
TAGS = {
    "predict": "Recognize digits",
    "read": "Read pages",
    "explain": "Look inside the network",
    "v1": "V1 protocol of TensorFlow Serving and KServe",
    "v2": "Open Inference Protocol V2",
    "health": "Health",
    "metrics": "Metrics",
    "pages": "Pages",
}
ERRORS = {
    400: "The request is invalid or malformed.",
    404: "The path or the query names something unknown.",
    408: "The request was not received in time.",
    413: "Too many bytes, pixels, images or form parts.",
    415: "The Content-Encoding is not supported.",
    500: "Internal error; see the service's log.",
    501: "Not supported over HTTP.",
    503: "The service is busy or the deadline has passed; retry later.",
}
# Every route can give these.
ERRORS_EVERYWHERE = (400, 408, 413, 415, 500)
# Flask adds these itself.
IMPLICIT_METHODS = {"HEAD", "OPTIONS"}
IMAGE_TYPES = (
    *(f"image/{name.lower()}" for name in FORMATS),
    "image/x-portable-graymap",
    "application/octet-stream",
)
BINARY: dict[str, Any] = {}  # bytes have no schema in OpenAPI


def json(kind: Any, example: Callable[[], Any] | None = None) -> Content:  # noqa: ANN401 - a type of any kind
    """A type as JSON. `example` makes a response to examples/3.png, within the application's context."""
    return {"application/json": {"schema": kind} | ({"example": example} if example else {})}


def form(images: Mapping[str, Any]) -> Content:
    """A form whose field `image` has this schema."""
    schema = {"type": "object", "properties": {"image": images}, "required": ["image"]}
    return {"multipart/form-data": {"schema": schema, "encoding": {"image": {"contentType": ", ".join(IMAGE_TYPES)}}}}


def parameter(place: str, name: str, kind: Any, description: str, example: Any = None) -> dict[str, Any]:  # noqa: ANN401
    """A parameter in the `path`, the `query` or a `header`."""
    described = {"name": name, "in": place, "description": description, "required": place == "path", "schema": kind}
    return described | ({"example": example} if example else {})


@dataclass(frozen=True)
class Body:
    """A request body, and curl's options that send it, by label."""

    content: Content
    commands: Mapping[str, str]
    description: str = ""


@dataclass(frozen=True)
class Operation:
    """A view's parameters, body, responses by status, their headers, and errors besides ERRORS_EVERYWHERE."""

    responses: Mapping[int, Content]
    parameters: tuple[dict[str, Any], ...] = ()
    body: Body | None = None
    errors: tuple[int, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, view: View) -> View:
        """Declares a view function and returns it unchanged."""
        OPERATIONS[view] = self
        return view


OPERATIONS: dict[Callable[..., Any], Operation] = {}  # by view function

VersionNumber = Annotated[str, Meta(pattern=f"^{VERSION.pattern}$")]
VERSION_IN_PATH = parameter("path", "version", VersionNumber, "The model's version.", lambda: registry().versions[0])
VERSION_IN_QUERY = parameter("query", "version", VersionNumber, "The model's version; the highest by default.")

PARAMETERS = {
    "X-Request-ID": parameter("header", "X-Request-ID", str, "The request's ID in the log and in the response."),
    "traceparent": parameter("header", "traceparent", str, "The request's trace (W3C Trace Context)."),
    "Content-Encoding": parameter(
        "header", "Content-Encoding", Literal[(*ENCODINGS, "identity")], "The compression of the body, if there is one."
    ),
}
HEADERS = {
    "X-Request-ID": {"description": "The request's ID, or a new one.", "schema": str, "required": True},
    "traceparent": {"description": "The request's trace, or a new one.", "schema": str, "required": True},
}
RETRY_AFTER = {"description": "Seconds to wait before a retry.", "schema": {"type": "integer"}, "required": True}


class JsonImage(Struct):
    """An image in JSON or in an urlencoded form."""

    image: Annotated[str, Meta(description="an image file in base64, or as a data URL")]


_FILE = {"type": "string", "format": "binary", "description": "an image file, with a file name"}
IMAGE = Body(
    {
        **dict.fromkeys(IMAGE_TYPES, BINARY),
        **form(_FILE),
        **json(JsonImage),
        "application/x-www-form-urlencoded": {"schema": JsonImage},
    },
    {
        "the file": "--data-binary @3.png",
        "a form": "-F image=@3.png",
        "JSON": '--json "{\\"image\\": \\"$(base64 -w 0 3.png)\\"}"',
    },
    "An image of at most 16 MiB and 25 megapixels, or a baseline JPEG of 32 MiB and 110 megapixels. Its format is "
    "detected from its bytes, not from the content type. "
    "Base64 and data URLs are accepted as the body and as text in a form, too.",
)
IMAGES = Body(
    form({"type": "array", "items": _FILE, "minItems": 1, "maxItems": MAXIMUM_IMAGES}),
    {"a form": "-F image=@1.png -F image=@2.png"},
    f"Up to {MAXIMUM_IMAGES:,} images, each in a field `image`, at most 16 MiB in total.",
)


def document(app: Flask) -> dict[str, Any]:
    """The OpenAPI 3.1 document of an application; to be called within its context."""
    tags = list(TAGS.values())
    paths: dict[str, Any] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: tags.index(_tag(rule))):
        for method in sorted((rule.methods or set()) - IMPLICIT_METHODS):
            path = paths.setdefault(_path(rule), {})
            path[method.lower()] = _operation(rule, method, app.view_functions[rule.endpoint])
    errors = {_name(status): _response(description, json(Error), {}) for status, description in ERRORS.items()}
    errors[_name(HTTPStatus.SERVICE_UNAVAILABLE)]["headers"]["Retry-After"] = RETRY_AFTER
    schemas: dict[str, Any] = {}
    whole = {
        "openapi": "3.1.0",
        "info": {
            "title": "digits",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": name} for name in tags],
        "paths": paths,
        "components": {"parameters": PARAMETERS, "headers": HEADERS, "responses": errors},
    }
    filled = _filled(whole, schemas)
    filled["components"]["schemas"] = schemas
    return filled


def _filled(part: Any, schemas: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON of any kind
    """Replaces types by schemas and functions by examples; adds the schemas that these refer to."""
    match part:
        case dict():
            return {name: _filled(one, schemas) for name, one in part.items()}
        case list() | tuple():
            return [_filled(one, schemas) for one in part]
        case FunctionType():
            return msgspec.to_builtins(part())
        case str() | int():
            return part
    [schema], components = msgspec.json.schema_components([part], ref_template="#/components/schemas/{name}")
    schemas |= components
    return schema


def _operation(rule: Rule, method: str, view: Callable[..., Any]) -> dict[str, Any]:
    operation = OPERATIONS[view]
    summary, _, description = (inspect.getdoc(view) or "").partition(". ")
    own = [one for one in operation.parameters if one["in"] != "path" or one["name"] in rule.arguments]
    everywhere = [name for name in PARAMETERS if operation.body or name != "Content-Encoding"]
    headers = {name: {"description": text, "schema": str} for name, text in operation.headers.items()}
    responses = {
        str(status): _response(HTTPStatus(status).phrase, content, headers)
        for status, content in operation.responses.items()
    }
    for status in sorted({*ERRORS_EVERYWHERE, *operation.errors} - {*operation.responses}):
        responses[str(status)] = _reference("responses", _name(status))
    described = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{_path(rule)}"),
        "tags": [_tag(rule)],
        "summary": summary.rstrip("."),
        "description": description,
        "parameters": [*own, *(_reference("parameters", name) for name in everywhere)],
        "responses": responses,
        "x-codeSamples": list(_samples(rule, method, operation)),
    }
    if body := operation.body:
        described["requestBody"] = {"description": body.description, "required": True, "content": body.content}
    return described


def _path(rule: Rule) -> str:
    """A route's path, with its parameters as OpenAPI writes them."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)


def _tag(rule: Rule) -> str:
    return TAGS[rule.endpoint.partition(".")[0]]


def _response(description: str, content: Content, headers: dict[str, Any]) -> dict[str, Any]:
    everywhere = {name: _reference("headers", name) for name in HEADERS}
    return {"description": description, "headers": everywhere | headers, "content": content}


def _reference(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def _name(status: int) -> str:
    """The name of an error's component."""
    return HTTPStatus(status).phrase.replace(" ", "")


def _samples(rule: Rule, method: str, operation: Operation) -> Iterator[dict[str, str]]:
    """curl commands, in the field that OpenAPI viewers show."""
    path = _path(rule)
    for one in operation.parameters:
        example = one.get("example", "")
        path = path.replace(f"{{{one['name']}}}", example() if callable(example) else example)
    ways = operation.body.commands if operation.body else {"": "" if method == "GET" else f"-X {method}"}
    for label, options in ways.items():
        command = " ".join(f"curl {options} http://localhost:8000{path}".split())
        yield {"lang": "Shell", "label": label, "source": command}
