"""The OpenAPI document at `/openapi.json`, made of what each route declares in the code's own types.

A view is declared in OpenAPI's words, with a type where OpenAPI has a schema and a function where it has an example.
Nothing here runs while a request is answered.
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
from msgspec import Meta
from werkzeug.routing import Rule

from digits import __version__
from digits.decode import FORMATS
from digits.settings import VERSION
from service.request_body import ENCODINGS
from service.responses import Error

View = TypeVar("View", bound=Callable[..., Any])
# What a body or an answer holds: OpenAPI's map of media types.
Content = dict[str, Any]
DESCRIPTION = """\
Reads handwritten digits, with a confidence, and says when an image holds none.

Every error is JSON, `{"error": "what was expected; what came"}`, also for an unknown path (404), a method that is not \
allowed (405, with `Allow`) and a malformed request (400, 414, 431).
"""
# The groups of the operations, by blueprint.
TAGS = {
    "predict": "Read digits",
    "explain": "Look inside",
    "v2": "Open Inference Protocol V2",
    "health": "Health",
    "metrics": "Metrics",
    "pages": "Pages",
}
ERRORS = {
    400: "The request is invalid or malformed.",
    404: "The path or the query names something unknown.",
    408: "The request was not received in time.",
    413: "Too many bytes, pixels, images or parts of a form.",
    415: "The Content-Encoding is not supported.",
    500: "The service failed; its log says why.",
    501: "Not supported over HTTP.",
    503: "The service is busy or its time was up; retry later.",
}
# Every route rejects a body that is broken, late, too large or in an unknown encoding.
ERRORS_EVERYWHERE = (400, 408, 413, 415, 500)
# Flask itself answers these.
IMPLICIT_METHODS = {"HEAD", "OPTIONS"}
IMAGE_TYPES = (*(f"image/{name.lower()}" for name in FORMATS), "application/octet-stream")
# OpenAPI's way to say that bytes have no schema.
BINARY: dict[str, Any] = {}


def json(kind: Any, example: Callable[[], Any] | None = None) -> Content:  # noqa: ANN401 - a type of any kind
    """A type as JSON; `example` makes an answer to a request with examples/3.png, within the application's context."""
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
    """What a request may carry, and curl's options that send it, by their names for people."""

    content: Content
    commands: Mapping[str, str]
    description: str = ""


@dataclass(frozen=True)
class Operation:
    """What a route takes and gives: its answers by status, their headers, and the errors that not every route gives."""

    answers: Mapping[int, Content]
    parameters: tuple[dict[str, Any], ...] = ()
    body: Body | None = None
    errors: tuple[int, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, view: View) -> View:
        """Declares a view function, and leaves it as it is."""
        OPERATIONS[view] = self
        return view


# By view function.
OPERATIONS: dict[Callable[..., Any], Operation] = {}

VersionNumber = Annotated[str, Meta(pattern=f"^{VERSION.pattern}$")]
VERSION_IN_QUERY = parameter("query", "version", VersionNumber, "The model's version; the highest by default.")

PARAMETERS = {
    "X-Request-ID": parameter("header", "X-Request-ID", str, "An ID for the request, in its log line and its answer."),
    "traceparent": parameter("header", "traceparent", str, "The request's trace, as in W3C Trace Context."),
    "Content-Encoding": parameter(
        "header", "Content-Encoding", Literal[(*ENCODINGS, "identity")], "How the body is compressed."
    ),
}
HEADERS = {
    "X-Request-ID": {"description": "The request's ID, its own or a new one.", "schema": str, "required": True},
    "traceparent": {"description": "The request's trace, its own or a new one.", "schema": str, "required": True},
}
RETRY_AFTER = {"description": "Seconds after which to retry.", "schema": {"type": "integer"}, "required": True}


def document(app: Flask) -> dict[str, Any]:
    """The whole document, OpenAPI 3.1, of an application whose routes are registered, within its context."""
    rules = sorted(app.url_map.iter_rules(), key=lambda rule: list(TAGS.values()).index(_tag(rule)))
    paths: dict[str, Any] = {}
    for rule in rules:
        for method in sorted((rule.methods or set()) - IMPLICIT_METHODS):
            path = paths.setdefault(re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), {})
            path[method.lower()] = _operation(rule, method, app.view_functions[rule.endpoint])
    errors = {}
    for status, description in ERRORS.items():
        headers = {"Retry-After": RETRY_AFTER} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        errors[_name(status)] = _response(description, json(Error), headers)
    whole: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "digits",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(TAGS.values())],
        "paths": paths,
        "components": {"schemas": {}, "parameters": PARAMETERS, "headers": HEADERS, "responses": errors},
    }
    kinds = list(_types(whole))
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    whole["components"]["schemas"] = components
    return _filled(whole, lambda kind: schemas[kinds.index(kind)])


def _types(part: object) -> Iterator[Any]:
    """The types in a part of the document."""
    if isinstance(part, dict | list | tuple):
        for one in part.values() if isinstance(part, dict) else part:
            yield from _types(one)
    elif not isinstance(part, str | int | FunctionType):
        yield part


def _filled(part: Any, schema: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - JSON of any kind
    """A part of the document with schemas in place of its types and examples in place of its functions."""
    match part:
        case dict():
            return {name: _filled(one, schema) for name, one in part.items()}
        case list() | tuple():
            return [_filled(one, schema) for one in part]
        case FunctionType():
            return msgspec.to_builtins(part())
        case str() | int() | float() | None:
            return part
        case _:
            return schema(part)


def _operation(rule: Rule, method: str, view: Callable[..., Any]) -> dict[str, Any]:
    operation = OPERATIONS[view]
    summary, _, description = (inspect.getdoc(view) or "").partition(". ")
    own = [one for one in operation.parameters if one["in"] != "path" or one["name"] in rule.arguments]
    everywhere = [name for name in PARAMETERS if operation.body or name != "Content-Encoding"]
    headers = {name: {"description": text, "schema": str} for name, text in operation.headers.items()}
    responses = {
        str(status): _response(HTTPStatus(status).phrase, content, headers)
        for status, content in operation.answers.items()
    }
    for status in sorted({*ERRORS_EVERYWHERE, *operation.errors} - {*operation.answers}):
        responses[str(status)] = _reference("responses", _name(status))
    described = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{rule.rule}"),
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


def _tag(rule: Rule) -> str:
    return TAGS[rule.endpoint.partition(".")[0]]


def _response(description: str, content: Content, headers: dict[str, Any]) -> dict[str, Any]:
    everywhere = {name: _reference("headers", name) for name in HEADERS}
    return {"description": description, "headers": everywhere | headers, "content": content}


def _reference(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def _name(status: int) -> str:
    """The name of an error among the components."""
    return HTTPStatus(status).phrase.replace(" ", "")


def _samples(rule: Rule, method: str, operation: Operation) -> Iterator[dict[str, str]]:
    """Commands for curl, in the field that viewers of OpenAPI use."""
    path = rule.rule
    for one in operation.parameters:
        example = one.get("example", "")
        path = re.sub(rf"<(?:\w+:)?{one['name']}>", example() if callable(example) else example, path)
    ways = operation.body.commands if operation.body else {"": "" if method == "GET" else f"-X {method}"}
    for label, options in ways.items():
        command = " ".join(f"curl {options} http://localhost:8000{path}".split())
        yield {"lang": "Shell", "label": label, "source": command}
