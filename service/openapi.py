"""The OpenAPI document: the application's routes, with what is said beside each and the schemas of the code's types."""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Any, Literal

import msgspec
from apispec import APISpec
from flask import Flask
from werkzeug.routing import Rule

from digits import __version__
from service.operations import BINARY, IMAGE_TYPES, OPERATIONS, Content, Operation, Parameter
from service.request_body import ENCODINGS
from service.responses import Error

DESCRIPTION = """\
Reads handwritten digits, says how sure it is, and when an image holds none.

Every error is JSON, `{"error": "what was expected; what came"}`, also where a path is unknown (404), a method is not \
allowed (405, with `Allow`), or a request is too broken for either (400, 414, 431).
"""
# The groups of the operations, by blueprint.
TAGS = {
    "predict": "Read digits",
    "explain": "Look inside",
    "v2": "Open Inference Protocol V2",
    "health": "Health",
    "observe": "Metrics",
    "page": "Pages",
    "reference": "Pages",
}
ERRORS = {
    400: "What came is not what was expected, or is broken.",
    404: "What the path or the query names is not there.",
    408: "The request did not come in time.",
    413: "More came than is taken: bytes, pixels, images, or parts of a form.",
    415: "The body is compressed in a way that is not known here.",
    500: "The service failed; its log says why.",
    501: "No request does this.",
    503: "More requests came at once than are taken on, or time was up.",
}
# A body that is broken, late, too large or oddly compressed is refused on every route.
ERRORS_EVERYWHERE = (400, 408, 413, 415, 500)
PARAMETERS_EVERYWHERE = (
    Parameter("header", "X-Request-ID", str, "A number for the request, which its log line and its answer carry."),
    Parameter("header", "traceparent", str, "The trace that the request belongs to, as in W3C Trace Context."),
)
CONTENT_ENCODING = Parameter(
    "header", "Content-Encoding", Literal[(*ENCODINGS, "identity")], "How the body is compressed."
)
HEADERS_EVERYWHERE = {
    "X-Request-ID": "The request's number, or one that it was given.",
    "traceparent": "The request's trace, or one that it was given.",
}
RETRY_AFTER = {
    "description": "After how many seconds the request may come again.",
    "schema": {"type": "integer"},
    "required": True,
}
# Flask itself answers these.
IMPLICIT_METHODS = {"HEAD", "OPTIONS"}

Schema = Callable[[Any], dict[str, Any]]


def document(app: Flask) -> dict[str, Any]:
    """The whole document, OpenAPI 3.1, of an application whose routes have been registered, within its context."""
    spec = APISpec(
        title="digits",
        version=__version__,
        openapi_version="3.1.0",
        info={"description": DESCRIPTION, "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": "/"}],
        tags=[{"name": name} for name in dict.fromkeys(TAGS.values())],
    )
    routes = [(rule, app.view_functions[rule.endpoint]) for rule in app.url_map.iter_rules()]
    schema = _add_schemas(spec, [OPERATIONS[view] for _, view in routes])
    for parameter in (*PARAMETERS_EVERYWHERE, CONTENT_ENCODING):
        spec.components.parameter(parameter.name, parameter.place, _parameter(parameter, schema))
    for name, description in HEADERS_EVERYWHERE.items():
        spec.components.header(name, {"description": description, "schema": schema(str), "required": True})
    for status, description in ERRORS.items():
        spec.components.response(_component(status), _error(status, description, schema))
    for rule, view in sorted(routes, key=lambda route: list(TAGS).index(route[0].endpoint.split(".")[0])):
        for method in sorted((rule.methods or set()) - IMPLICIT_METHODS):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            spec.path(path, operations={method.lower(): _operation(rule, method, view, schema)})
    return spec.to_dict()


def _add_schemas(spec: APISpec, operations: Sequence[Operation]) -> Schema:
    """Writes the schemas of all types into the document; gives what stands for a type where it is used."""
    kinds: list[Any] = [Error, *(one.kind for one in (*PARAMETERS_EVERYWHERE, CONTENT_ENCODING))]
    for operation in operations:
        contents = [*operation.answers.values(), operation.body.content if operation.body else {}]
        kinds += [kind for content in contents for kind in content.values() if not isinstance(kind, dict)]
        kinds += [parameter.kind for parameter in operation.parameters]
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    for name, component in components.items():
        spec.components.schema(name, component)
    return lambda kind: dict(kind) if isinstance(kind, dict) else schemas[kinds.index(kind)]


def _operation(rule: Rule, method: str, view: Callable[..., Any], schema: Schema) -> dict[str, Any]:
    operation = OPERATIONS[view]
    summary, _, description = (inspect.getdoc(view) or "").partition(". ")
    parameters = [one for one in operation.parameters if one.place != "path" or one.name in rule.arguments]
    everywhere = (*PARAMETERS_EVERYWHERE, *([CONTENT_ENCODING] if operation.body else []))
    errors = sorted({*ERRORS_EVERYWHERE, *operation.errors} - {*operation.answers})
    described = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{rule.rule}"),
        "tags": [TAGS[rule.endpoint.split(".")[0]]],
        "summary": summary.rstrip("."),
        "description": description,
        "parameters": [*(_parameter(one, schema) for one in parameters), *(one.name for one in everywhere)],
        "responses": {str(status): _answer(status, operation, schema) for status in operation.answers}
        | {str(status): _component(status) for status in errors},
        "x-codeSamples": list(_samples(rule, method, operation)),
    }
    if body := operation.body:
        content = _content(body.content, schema)
        described["requestBody"] = {"description": body.description, "required": True, "content": content}
    return described


def _parameter(parameter: Parameter, schema: Schema) -> dict[str, Any]:
    described = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "required": parameter.place == "path",
        "schema": schema(parameter.kind),
    }
    return described | ({"example": example} if (example := parameter.shown()) else {})


def _content(content: Content, schema: Schema) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for name, kind in content.items():
        described[name] = {} if kind is BINARY else {"schema": schema(kind)}
        if name == "multipart/form-data":
            # Every field of a form here is an image.
            types = {"contentType": ", ".join(IMAGE_TYPES)}
            described[name]["encoding"] = dict.fromkeys(kind["properties"], types)
    return described


def _answer(status: int, operation: Operation, schema: Schema) -> dict[str, Any]:
    content = _content(operation.answers[status], schema)
    if status == HTTPStatus.OK and operation.example is not None:
        content["application/json"]["example"] = msgspec.to_builtins(operation.example())
    headers: dict[str, Any] = {name: name for name in HEADERS_EVERYWHERE}
    for name, description in operation.headers.items():
        headers[name] = {"description": description, "schema": schema(str)}
    return {"description": HTTPStatus(status).phrase, "headers": headers, "content": content}


def _error(status: int, description: str, schema: Schema) -> dict[str, Any]:
    headers: dict[str, Any] = {name: name for name in HEADERS_EVERYWHERE}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = RETRY_AFTER
    return {"description": description, "headers": headers, "content": {"application/json": {"schema": schema(Error)}}}


def _component(status: int) -> str:
    """The name of an error among the components."""
    return HTTPStatus(status).phrase.replace(" ", "")


def _samples(rule: Rule, method: str, operation: Operation) -> Iterator[dict[str, str]]:
    """Commands for curl, in the field that viewers of OpenAPI made usual."""
    path = rule.rule
    for one in operation.parameters:
        path = re.sub(rf"<(?:\w+:)?{one.name}>", one.shown(), path)
    ways = operation.body.commands if operation.body else {"": "" if method == "GET" else f"-X {method}"}
    for label, options in ways.items():
        command = " ".join(f"curl {options} http://localhost:8000{path}".split())
        yield {"lang": "Shell", "label": label, "source": command}
