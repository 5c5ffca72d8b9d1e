"""A client of a running service, by the V2 protocol."""

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Event
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import msgspec
import urllib3
from msgspec import UNSET, Struct
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from digits.open_inference import (
    InferenceRequest,
    InferenceResponse,
    InputTensor,
    RequestedOutput,
    TensorError,
    from_bytes,
    to_bytes,
)
from digits.reasons import UNCERTAIN
from scoring.errors import ScoringError
from scoring.rows import IMAGES, PAGES, Layout, ModelIdentity, Row, error_row, row_without_digits

# The model, and the datatypes of those of its outputs that rows are made of.
MODELS = {IMAGES: "digits-image", PAGES: "digits-page"}
OUTPUTS = {
    IMAGES: {"digit": "INT64", "confidence": "FP32", "reason": "BYTES", "error": "BYTES"},
    PAGES: {
        **dict.fromkeys(("image", "digit", "box", "line", "position", "turned"), "INT64"),
        "confidence": "FP32",
        "error": "BYTES",
    },
}
HEADER_LENGTH = "Inference-Header-Content-Length"
# Timeouts of connecting and of an answer; the latter is longer than the service's own.
CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 60.0
# How long a service may fail to answer at all, and the bounds of the exponential backoff between retries.
PATIENCE_SECONDS, FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 60.0, 0.2, 8.0
# After a failure, this many requests check whether the service is healthy.
RECOVERY_REQUESTS = 5
# A 503 that comes later than this was not rejected for lack of room: its processing took too long.
LATE_SECONDS = 5.0

Result = TypeVar("Result")
# Images to read: each one's name in the output, and its file.
Files = Sequence[tuple[str, bytes]]


class NoResultError(Exception):
    """A request got no results. The message says what came instead, `seconds` how long to wait before a retry."""

    def __init__(self, message: str, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class UnreachableError(NoResultError):
    """The service accepts no connection."""


class BusyError(NoResultError):
    """The service has no room."""


class LostError(NoResultError):
    """No answer came, because of this request or of another one that the service was processing."""


class RejectedError(NoResultError):
    """The answer was an error with this status, or it could not be parsed."""

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """A pool of connections to a service, for use by several threads."""

    model: ModelIdentity

    def __init__(self, url: str, connections: int, layout: Layout = IMAGES) -> None:
        """Raises ScoringError if the URL is not a service's."""
        self._layout, self._name = layout, MODELS[layout]
        parsed = _parsed(url)
        self.url = parsed._replace(auth=None).url.rstrip("/")
        self._path = (parsed.path or "").rstrip("/")
        self._headers = urllib3.make_headers(basic_auth=unquote(parsed.auth)) if parsed.auth else {}
        self._pool = urllib3.connection_from_url(
            self.url,
            maxsize=connections,
            block=True,
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS),
        )
        self._failing_since: float | None = None
        self._may_have_changed = False  # the model, as the service may have been restarted
        self._closed = Event()

    def connect(self) -> None:
        """Finds the model that the service runs. Raises ScoringError."""
        try:
            self.model = self._retried(self._find_model, BusyError)
        except NoResultError as error:
            raise ScoringError(f"{self.url}: no service answers: {error}") from error

    def ask(self, files: Files) -> tuple[list[list[Row]], float]:
        """The rows of each image file, and how many seconds the successful request took.

        Raises LostError and RejectedError, and ScoringError if the service answers nothing for too long.
        """
        return self._retried(lambda: self._infer(files), BusyError, UnreachableError)

    def recover(self, image: bytes) -> bool:
        """Waits until the service has read a valid image several times; returns whether no attempt failed.

        Raises ScoringError if the service does not recover.
        """
        healthy = True
        for _ in range(RECOVERY_REQUESTS):
            try:
                self._infer([("", image)])
            except NoResultError:
                healthy = False
                self._retried(lambda: self._infer([("", image)]), NoResultError)
        self._failing_since = None
        return healthy

    def close(self) -> None:
        """Closes the connections; threads that wait for a retry get a ScoringError."""
        self._closed.set()
        self._pool.close()

    def _retried(self, ask: Callable[[], Result], *kinds: type[NoResultError]) -> Result:
        """Retries as long as it fails in one of these ways. Raises ScoringError."""
        attempt = 0
        while True:
            try:
                result = ask()
            except kinds as error:
                self._wait(attempt, error)
                attempt += 1
            else:
                self._failing_since = None
                return result

    def _wait(self, attempt: int, error: NoResultError) -> None:
        now = time.monotonic()
        since = self._failing_since = self._failing_since or now
        if now - since >= PATIENCE_SECONDS:
            raise ScoringError(f"{self.url}: no answer for {now - since:.0f} s: {error}") from error
        seconds = max(error.seconds, min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(attempt, 16)))
        seconds *= random.uniform(1, 1.5)  # noqa: S311 - so that clients do not retry all at once
        if self._closed.wait(min(seconds, PATIENCE_SECONDS)):
            raise ScoringError("the run has ended") from error

    def _find_model(self, version: str = "") -> ModelIdentity:
        response = self._request("GET", f"/v2/models/{self._name}{version}")
        self._check(response, f"a V2 service with the model {self._name}")
        try:
            metadata = msgspec.json.decode(response.data, type=_Metadata)
        except msgspec.MsgspecError as error:
            raise ScoringError(
                f"{self.url}: expected a digits service, which gives its model's name, version and sha256 in the "
                f"parameters of /v2/models/{self._name}; got another service, or an older version"
            ) from error
        return ModelIdentity(*msgspec.structs.astuple(metadata.parameters))

    def _infer(self, files: Files) -> tuple[list[list[Row]], float]:
        version = f"/versions/{quote(self.model.version, safe='')}"
        if self._may_have_changed:
            found = self._find_model(version)
            if found != self.model:
                raise ScoringError(f"{self.url}: the model changed from {self.model} to {found} during the run")
            self._may_have_changed = False
        begun = time.monotonic()
        length, body = _encoded([file for _, file in files], OUTPUTS[self._layout])
        response = self._request("POST", f"/v2/models/{self._name}{version}/infer", body, {HEADER_LENGTH: length})
        seconds = time.monotonic() - begun
        if response.status == 503 and seconds > LATE_SECONDS:
            raise LostError(f"got {_described(response)}")
        expected = self.model.version
        self._check(response, f"version {expected} of the model {self._name}, which read the images so far")
        try:
            answered, outputs = _decoded(response, OUTPUTS[self._layout])
            rows = (_page_rows if self._layout == PAGES else _image_rows)(
                [name for name, _ in files], self.model, outputs
            )
        except (KeyError, ValueError, TensorError) as error:
            raise RejectedError("got an answer that is not valid V2") from error
        if answered != expected:
            raise ScoringError(f"{self.url}: expected an answer of version {expected}; got one of version {answered}")
        return rows, seconds

    def _request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.urlopen(
                method, self._path + path, body, {**self._headers, **(headers or {})}, redirect=False
            )
        except (NewConnectionError, ConnectTimeoutError, SSLError) as error:
            self._may_have_changed = True
            cause = error.__cause__
            why = cause.strerror if isinstance(cause, OSError) and cause.strerror else error
            raise UnreachableError(f"it cannot be reached: {why}") from error
        except ReadTimeoutError as error:
            raise LostError(f"it took longer than {ANSWER_SECONDS:g} s") from error
        except HTTPError as error:
            self._may_have_changed = True
            raise LostError("it closed the connection") from error

    def _check(self, response: urllib3.BaseHTTPResponse, expected: str) -> None:
        """Raises the error that a status other than 200 means."""
        got = f"got {_described(response)}"
        match response.status:
            case 200:
                return
            case 429 | 503:
                raise BusyError(got, _retry_after(response))
            case 502 | 504:  # a proxy's
                raise LostError(got)
            case 400 | 408 | 413 | 500:
                raise RejectedError(got, response.status)
            case _:
                raise ScoringError(f"{self.url}: expected {expected}; {got}")


class _Parameters(Struct):
    name: str
    version: str
    sha256: str


class _Metadata(Struct):
    parameters: _Parameters


class _Failure(Struct):
    error: str


def _parsed(url: str) -> urllib3.util.Url:
    try:
        parsed = urllib3.util.parse_url(url)
    except LocationParseError:
        parsed = urllib3.util.Url()
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        shown = parsed._replace(auth=None).url if parsed.host else url.rpartition("@")[2]
        raise ScoringError(f"--url: expected a URL such as http://localhost:8000; got {shown!r}")
    return parsed


def _described(response: urllib3.BaseHTTPResponse) -> str:
    """An answer's status, and the error or redirect that it carries."""
    try:
        text = msgspec.json.decode(response.data, type=_Failure).error
    except msgspec.MsgspecError:
        text = " ".join(filter(None, [response.reason, response.headers.get("Location")]))
    text = "".join(one if one.isprintable() else " " for one in text[:300])
    return f"{response.status}: {text}" if text else str(response.status)


def _retry_after(response: urllib3.BaseHTTPResponse) -> float:
    try:
        return urllib3.Retry().get_retry_after(response) or 0.0
    except HTTPError:
        return 0.0


def _encoded(files: Sequence[bytes], names: Iterable[str]) -> tuple[str, bytes]:
    """The length of a request's JSON header, and its body; a single file needs no header."""
    if len(files) == 1:
        return "0", files[0]
    data = to_bytes(list(files))
    tensor = InputTensor("image", [len(files)], "BYTES", parameters={"binary_data_size": len(data)})
    outputs = [RequestedOutput(name) for name in names]
    header = msgspec.json.encode(InferenceRequest([tensor], "", {"binary_data_output": True}, outputs))
    return str(len(header)), header + data


def _decoded(response: urllib3.BaseHTTPResponse, datatypes: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The version that answered, and its outputs. Raises KeyError, ValueError and TensorError."""
    end = int(response.headers[HEADER_LENGTH])
    answer = msgspec.json.decode(response.data[:end], type=InferenceResponse)
    outputs = {}
    for tensor in answer.outputs:
        if tensor.parameters is UNSET:
            raise TensorError(f"output `{tensor.name}`: expected binary data; got JSON")
        start, end = end, end + tensor.parameters["binary_data_size"]
        outputs[tensor.name] = from_bytes(tensor, response.data[start:end])
        expected = (datatypes.get(tensor.name, tensor.datatype), [4] if tensor.name == "box" else [])
        if tensor.name in datatypes and (tensor.datatype, tensor.shape[1:]) != expected:
            raise TensorError(f"output `{tensor.name}`: expected {expected}; got {tensor.datatype} of {tensor.shape}")
    return answer.model_version, {name: outputs[name] for name in datatypes}


def _image_rows(names: Sequence[str], model: ModelIdentity, outputs: Mapping[str, Any]) -> list[list[Row]]:
    return [
        [
            error_row(name, error.decode(), model)
            if error
            else Row(name, _digit(digit), _rounded(confidence), reason.decode() or None, None, *model)
        ]
        for name, digit, confidence, reason, error in zip(names, *outputs.values(), strict=True)
    ]


def _page_rows(names: Sequence[str], model: ModelIdentity, outputs: Mapping[str, Any]) -> list[list[Row]]:
    digits: list[list[Row]] = [[] for _ in names]
    has_marks = [False] * len(names)
    *columns, turns, errors = (outputs[name] for name in (*_OF_DIGITS, "turned", "error"))
    for page, digit, confidence, line, position, box in zip(*columns, strict=True):
        if not 0 <= page < len(names):
            raise ValueError(page)
        if line < 0:
            has_marks[page] = True
            continue
        reason = UNCERTAIN if digit < 0 else None
        place = (int(line), int(position), *map(int, box), int(turns[page]))
        digits[page].append(Row(names[page], _digit(digit), _rounded(confidence), reason, None, *model, *place))
    return [
        [error_row(name, error.decode(), model)]
        if error
        else rows or [row_without_digits(name, has, int(turned), model)]
        for name, rows, has, turned, error in zip(names, digits, has_marks, turns, errors, strict=True)
    ]


# The outputs of digits-page with a value for each digit or mark.
_OF_DIGITS = ("image", "digit", "confidence", "line", "position", "box")


def _digit(value: int) -> int | None:
    return None if value < 0 else int(value)


def _rounded(confidence: float) -> float:
    return round(float(confidence), 6)
