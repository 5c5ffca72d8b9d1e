"""What a route works with: the served models, and the limits on concurrent requests."""

from flask import current_app, request

from digits import tracing
from digits.recognizer import Recognizer
from digits.registry import Registry
from digits.settings import EXAMPLES
from service.admission import Admission, Limiter


def registry() -> Registry:
    """The versions of the model that this process serves."""
    return current_app.extensions["registry"]


def version() -> str | None:
    """The version that the request asks for, `?version=`."""
    return request.args.get("version") if request.query_string else None


def recognizer() -> Recognizer:
    """The recognizer of the version that the request asks for, or of the highest. Raises VersionError."""
    return registry().recognizer(version())


def admitted(images: int = 1) -> Admission:
    """Waits until this request, whose body has been read, is admitted. Raises BusyError and DeadlineError."""
    limiter: Limiter = current_app.extensions["limiter"]
    return limiter.admitted(tracing.deadline(), images)


def example_image() -> bytes:
    """The image whose answers are the examples in the OpenAPI document."""
    return (EXAMPLES / "3.png").read_bytes()
