"""A running service, asked by protocol V2 for the digits in image files."""

import random
import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import TypeVar
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
from scoring.errors import ScoringError
from scoring.rows import Answer, Model

MODEL = "digits-image"
OUTPUTS = {"digit": "INT64", "confidence": "FP32", "reason": "BYTES", "error": "BYTES"}
HEADER_LENGTH = "Inference-Header-Content-Length"
# How long a connection may take, and the answer after it: longer than the service takes before it gives up by itself.
CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 60.0
# For how long nothing at all may be answered, and how long to wait before asking again, each time twice as long.
PATIENCE_SECONDS, FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 60.0, 0.2, 8.0
# After a failure, so many requests show whether the service is well.
RECOVERY_REQUESTS = 5
# A 503 that came later than this was no refusal to begin.
LATE_SECONDS = 5.0

Result = TypeVar("Result")


class UnansweredError(Exception):
    """A request got no results; the message says what came, and `seconds` when to ask again, at the earliest."""

    def __init__(self, message: str, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class UnreachableError(UnansweredError):
    """There is no connection to the service."""


class BusyError(UnansweredError):
    """The service had no room."""


class LostError(UnansweredError):
    """No answer came: because of what was asked, or of what the service did beside it."""


class RefusedError(UnansweredError):
    """The answer was an error, of the status given, or nothing that can be read."""

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """Connections to a service, one a request at a time; may be called from several threads."""

    model: Model

    def __init__(self, url: str, connections: int) -> None:
        """Raises ScoringError for what is no URL of a service."""
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
        self._may_be_another = False
        self._closed = Event()

    def connect(self) -> None:
        """Finds out which model answers. Raises ScoringError."""
        try:
            self.model = self._patiently(self._find_model, BusyError)
        except UnansweredError as error:
            raise ScoringError(f"{self.url}: expected a service; {error}") from error

    def ask(self, files: Sequence[bytes]) -> tuple[list[Answer], float]:
        """What is in image files, and how many seconds the request took that was answered.

        Raises LostError and RefusedError, and ScoringError where nothing is answered.
        """
        return self._patiently(lambda: self._infer(files), BusyError, UnreachableError)

    def recover(self, image: bytes) -> bool:
        """Waits until the service has read an image that it can read, some times; whether it has each time at once.

        Raises ScoringError if it does not.
        """
        well = True
        for _ in range(RECOVERY_REQUESTS):
            try:
                self._infer([image])
            except UnansweredError:
                well = False
                self._patiently(lambda: self._infer([image]), UnansweredError)
        self._failing_since = None
        return well

    def close(self) -> None:
        """Closes the connections; whoever waits to ask again gets a ScoringError."""
        self._closed.set()
        self._pool.close()

    def _patiently(self, ask: Callable[[], Result], *kinds: type[UnansweredError]) -> Result:
        """Asks again as long as it fails in these ways. Raises ScoringError."""
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

    def _wait(self, attempt: int, error: UnansweredError) -> None:
        now = time.monotonic()
        since = self._failing_since = self._failing_since or now
        if now - since >= PATIENCE_SECONDS:
            raise ScoringError(
                f"{self.url}: expected a service that answers; for {now - since:.0f} s nothing was answered: {error}"
            ) from error
        seconds = max(error.seconds, min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(attempt, 16)))
        # Not all at the same time.
        seconds *= random.uniform(1, 1.5)  # noqa: S311
        if self._closed.wait(min(seconds, PATIENCE_SECONDS)):
            raise ScoringError("expected to ask a service; the run has ended") from error

    def _find_model(self, path: str = f"/v2/models/{MODEL}") -> Model:
        response = self._request("GET", path)
        self._check(response, f"a V2 service with the model {MODEL}")
        try:
            return Model(*msgspec.structs.astuple(msgspec.json.decode(response.data, type=_Metadata).parameters))
        except msgspec.MsgspecError as error:
            raise ScoringError(
                f"{self.url}: expected a digits service that tells its model's name, version and sha256 in the "
                f"parameters of /v2/models/{MODEL}; got another, or an older one"
            ) from error

    def _infer(self, files: Sequence[bytes]) -> tuple[list[Answer], float]:
        version = self.model.version
        path = f"/v2/models/{MODEL}/versions/{quote(version, safe='')}"
        if self._may_be_another:
            found = self._find_model(path)
            if found != self.model:
                raise ScoringError(
                    f"{self.url}: expected the model {' '.join(self.model)} still; got {' '.join(found)}"
                )
            self._may_be_another = False
        begun = time.monotonic()
        length, body = _encoded(files)
        response = self._request("POST", f"{path}/infer", body, {HEADER_LENGTH: length})
        seconds = time.monotonic() - begun
        if response.status == 503 and seconds > LATE_SECONDS:
            raise LostError(f"got {_told(response)}")
        self._check(response, f"version {version} of the model {MODEL}, by which the images before were read")
        try:
            answered, answers = _decoded(response, len(files))
        except (KeyError, ValueError, TensorError) as error:
            raise RefusedError("got an answer that is not V2's") from error
        if answered != version:
            raise ScoringError(f"{self.url}: expected an answer of version {version}; got one of version {answered}")
        return answers, seconds

    def _request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.urlopen(
                method, self._path + path, body, {**self._headers, **(headers or {})}, redirect=False
            )
        except (NewConnectionError, ConnectTimeoutError, SSLError) as error:
            self._may_be_another = True
            cause = error.__cause__
            why = cause.strerror if isinstance(cause, OSError) and cause.strerror else error
            raise UnreachableError(f"it cannot be reached: {why}") from error
        except ReadTimeoutError as error:
            raise LostError(f"it took longer than {ANSWER_SECONDS:g} s") from error
        except HTTPError as error:
            self._may_be_another = True
            raise LostError("it closed the connection") from error

    def _check(self, response: urllib3.BaseHTTPResponse, expected: str) -> None:
        """Raises what an answer other than 200 means."""
        told = f"got {_told(response)}"
        match response.status:
            case 200:
                return
            case 429 | 503:
                raise BusyError(told, _retry_after(response))
            case 502 | 504:  # a proxy's
                raise LostError(told)
            case 400 | 408 | 413 | 500:
                raise RefusedError(told, response.status)
            case _:
                raise ScoringError(f"{self.url}: expected {expected}; {told}")


class _Answering(Struct):
    name: str
    version: str
    sha256: str


class _Metadata(Struct):
    parameters: _Answering


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


def _told(response: urllib3.BaseHTTPResponse) -> str:
    """An answer's status, and its error or its new address if it tells one."""
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


def _encoded(files: Sequence[bytes]) -> tuple[str, bytes]:
    """How many of a request's bytes are JSON, and all its bytes; a file alone is the whole of it."""
    if len(files) == 1:
        return "0", files[0]
    data = to_bytes(list(files))
    tensor = InputTensor("image", [len(files)], "BYTES", parameters={"binary_data_size": len(data)})
    outputs = [RequestedOutput(name) for name in OUTPUTS]
    head = msgspec.json.encode(InferenceRequest([tensor], "", {"binary_data_output": True}, outputs))
    return str(len(head)), head + data


def _decoded(response: urllib3.BaseHTTPResponse, images: int) -> tuple[str, list[Answer]]:
    """Which version answered, and what. Raises KeyError, ValueError and TensorError."""
    end = int(response.headers[HEADER_LENGTH])
    answer = msgspec.json.decode(response.data[:end], type=InferenceResponse)
    outputs = {}
    for tensor in answer.outputs:
        if tensor.parameters is UNSET:
            raise TensorError(f"output `{tensor.name}`: expected it in bytes; got it in JSON")
        start, end = end, end + tensor.parameters["binary_data_size"]
        outputs[tensor.name] = from_bytes(tensor, response.data[start:end])
        if tensor.name in OUTPUTS and (tensor.datatype, tensor.shape) != (OUTPUTS[tensor.name], [images]):
            raise TensorError(f"output `{tensor.name}`: expected {OUTPUTS[tensor.name]} of {images} images; got others")
    return answer.model_version, [_answer(*row) for row in zip(*(outputs[name] for name in OUTPUTS), strict=True)]


def _answer(digit: int, confidence: float, reason: bytes, error: bytes) -> Answer:
    if error:
        return None, None, None, error.decode()
    return None if digit < 0 else int(digit), round(float(confidence), 6), reason.decode() or None, None
