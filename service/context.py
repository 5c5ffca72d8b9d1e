"""What a route works with: the served models, admission control, and whether the process is stopping."""

from flask import current_app, request

from digits import tracing
from digits.recognizer import Recognizer
from digits.registry import Registry
from digits.settings import EXAMPLES
from service.admission import Admission, Limiter


def registry() -> Registry:
    """The model versions that this process serves."""
    return current_app.extensions["registry"]


def asked(name: str) -> str | None:
    """A parameter in the request's query."""
    return request.args.get(name) if request.query_string else None


def recognizer() -> Recognizer:
    """The recognizer of the requested version, or of the highest. Raises VersionError."""
    return registry().recognizer(asked("version"))


def admitted(images: int = 1) -> Admission:
    """Waits until this request is admitted; its body has been read by then. Raises BusyError and DeadlineError."""
    limiter: Limiter = current_app.extensions["limiter"]
    return limiter.admitted(tracing.deadline(), images)


def stopping() -> bool:
    """Whether this process has been told to stop."""
    return current_app.extensions.get("stopping", bool)()


def example_image() -> bytes:
    """The image that the examples in the OpenAPI document were made with."""
    return (EXAMPLES / "3.png").read_bytes()
