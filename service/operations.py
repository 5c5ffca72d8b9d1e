"""What each route takes and gives, said beside it in the code's own types, for the document at `/openapi.json`.

Nothing here runs while a request is answered.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from msgspec import Meta

from digits.decode import FORMATS
from digits.settings import VERSION

View = TypeVar("View", bound=Callable[..., Any])
# What a body or an answer is, by media type: a type that msgspec knows, or a JSON Schema.
Content = dict[str, Any]
IMAGE_TYPES = (*(f"image/{name.lower()}" for name in FORMATS), "application/octet-stream")
# OpenAPI's way to say that bytes are not described.
BINARY: dict[str, Any] = {}


@dataclass(frozen=True)
class Parameter:
    """A parameter in the `path`, the `query` or a `header`; its example may depend on the models that are served."""

    place: str
    name: str
    kind: Any
    description: str
    example: str | Callable[[], str] = ""

    def shown(self) -> str:
        """The example, within the application's context."""
        return self.example if isinstance(self.example, str) else self.example()


@dataclass(frozen=True)
class Body:
    """What a request may carry, and what curl is told to send it, by what a person would call that."""

    content: Content
    commands: Mapping[str, str]
    description: str = ""


@dataclass(frozen=True)
class Operation:
    """What a route takes and gives: its answers and their headers, and the errors that not every route gives.

    `example` makes the answer to a request with examples/3.png, within the application's context.
    """

    answers: Mapping[int, Content]
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    errors: tuple[int, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    example: Callable[[], Any] | None = None


# By view function.
OPERATIONS: dict[Callable[..., Any], Operation] = {}


def described(operation: Operation) -> Callable[[View], View]:
    """Says what a view function takes and gives, and leaves the function as it is."""

    def keep(view: View) -> View:
        OPERATIONS[view] = operation
        return view

    return keep


def json(kind: Any) -> Content:  # noqa: ANN401 - a type of any kind
    """A type as JSON."""
    return {"application/json": kind}


VersionNumber = Annotated[str, Meta(pattern=f"^{VERSION.pattern}$")]
VERSION_IN_QUERY = Parameter("query", "version", VersionNumber, "The model's version; the highest unless given.")
