"""28×28 images → predictions: the ONNX Runtime session and what its answers mean."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

import numpy as np
import onnxruntime
from msgspec import Meta
from numpy.typing import NDArray

from digits import tracing
from digits.decode import ImageError, decode
from digits.ink import BLANK, NOT_A_DIGIT, SEVERAL_DIGITS
from digits.memory import OneTurn
from digits.picture import Picture
from digits.preprocess import SIZE, Prepared, prepare
from digits.settings import VERSION, Settings

CLASSES = 10
# Images a session run: larger batches are no faster on a CPU and make ONNX Runtime keep more memory.
MAXIMUM_BATCH = 16

UNCERTAIN = "uncertain"
# Beside the model: the same network, which gives every layer's output too.
EXPLANATION = "explain.onnx"

Images = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


class ModelError(Exception):
    """The model cannot be loaded, or not on the execution provider asked for; one sentence."""


Digit = Annotated[Annotated[int, Meta(ge=0, le=9)] | None, Meta(description="0 to 9, or null where none can be read")]
Confidence = Annotated[float, Meta(ge=0, le=1)]
TenProbabilities = Annotated[
    tuple[Confidence, ...],
    Meta(min_length=CLASSES, max_length=CLASSES, description="one a digit: which it would be if it were one"),
]
Reason = Annotated[
    Annotated[str, Meta(extra_json_schema={"enum": [BLANK, SEVERAL_DIGITS, NOT_A_DIGIT, UNCERTAIN]})] | None,
    Meta(description="why `digit` is null; null otherwise"),
]


@dataclass(frozen=True)
class Prediction:
    """`digit` is None where none can be read, and `reason` then says why. `confidence` is the largest probability."""

    digit: Digit
    confidence: Annotated[Confidence, Meta(description="the largest probability")]
    probabilities: TenProbabilities
    reason: Reason


class Answer(NamedTuple):
    """What a Prediction says, without its probabilities."""

    digit: int | None
    confidence: float
    reason: str | None


class ModelVersion(TypedDict):
    """Which model answered."""

    name: str
    version: str


@dataclass(frozen=True)
class ModelFile:
    """An ONNX file, read once: what is made of it does not depend on what becomes of the file."""

    path: Path
    data: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> "ModelFile":
        """Raises ModelError."""
        try:
            if path.exists() and not path.is_file() and not path.is_dir():
                raise ModelError(f"{path}: expected an ONNX model; got a pipe or a device.")
            return cls(path, path.read_bytes())
        except OSError as error:
            raise ModelError(f"{path}: expected an ONNX model; got: {error.strerror}.") from error

    def beside(self, name: str) -> "ModelFile | None":
        """Another file of the same folder, None if it is not there. Raises ModelError."""
        path = self.path.with_name(name)
        return ModelFile.read(path) if os.path.lexists(path) else None


class Classifier:
    """A model loaded once, ready to predict; may be called from several threads.

    An ONNX Runtime session does not survive a fork: create it in the process that uses it.
    """

    def __init__(
        self,
        model: Path | ModelFile,
        provider: str = Settings.provider,
        minimum_is_digit: float = Settings.minimum_is_digit,
        minimum_confidence: float = Settings.minimum_confidence,
    ) -> None:
        """Loads an ONNX file onto the execution provider `auto`, `cpu` or `cuda`. Raises ModelError.

        A prediction whose `is_digit` or confidence lies below its minimum is refused.
        """
        file = model if isinstance(model, ModelFile) else ModelFile.read(model)
        self.path = file.path
        self.session = load_session(file, provider)
        self.sha256 = hashlib.sha256(file.data).hexdigest()
        _check_shape(file.path, self.session)
        self.minimum_is_digit, self.minimum_confidence = minimum_is_digit, minimum_confidence

    @classmethod
    def from_settings(cls, settings: Settings) -> "Classifier":
        """The classifier that the settings ask for. Raises ModelError and SettingsError."""
        return cls(settings.model_path, settings.provider, settings.minimum_is_digit, settings.minimum_confidence)

    @property
    def provider(self) -> str:
        """What runs the model: `cpu` or `cuda`."""
        return "cuda" if self.session.get_providers()[0] == "CUDAExecutionProvider" else "cpu"

    @cached_property
    def metadata(self) -> dict[str, str]:
        """What training wrote into the file: name, version, formula, labels, hashes and results."""
        return dict(self.session.get_modelmeta().custom_metadata_map)

    @cached_property
    def version(self) -> str:
        """The number of the folder that the file lies in, as text, or else what the file says of itself."""
        folder = self.path.absolute().parent.name
        return folder if VERSION.fullmatch(folder) else self.metadata.get("version", "0")

    @property
    def model(self) -> ModelVersion:
        """The model's name and version."""
        return {"name": self.metadata.get("name", "digits"), "version": self.version}

    def classify(self, images: Images) -> tuple[Probabilities, NDArray[np.float32]]:
        """Probabilities [N, 10] and `is_digit` [N] of prepared images, uint8 [N, 28, 28]."""
        # Copied at once: ONNX Runtime's own outputs, if kept, would break up the memory that each run takes again.
        probabilities, is_digit = np.empty((len(images), CLASSES), np.float32), np.empty(len(images), np.float32)
        for start in range(0, len(images), MAXIMUM_BATCH):
            part = slice(start, start + MAXIMUM_BATCH)
            with tracing.stage("inference"):
                outputs = self.session.run(["probabilities", "is_digit"], {"images": images[part]})
            probabilities[part], is_digit[part] = outputs
            tracing.batch(len(is_digit[part]))
        return probabilities, is_digit

    def predict(self, prepared: Sequence[Prepared]) -> list[Prediction]:
        """Predictions for prepared images, in their order."""
        if not prepared:
            return []
        outputs = self.classify(np.array([one.image for one in prepared]))
        return [self._prediction(one.reason, *output) for one, *output in zip(prepared, *outputs, strict=True)]

    def _prediction(self, reason: str | None, row: Probabilities, is_digit: float) -> Prediction:
        if reason == BLANK:
            # Nothing was there to classify, so nothing speaks for any digit.
            row = np.full(CLASSES, 1 / CLASSES, np.float32)
        best = int(row.argmax())
        probabilities = tuple([round(one, 6) for one in row.tolist()])
        reason = self._reason(reason, probabilities[best], is_digit)
        tracing.outcome(reason or tracing.DIGIT)
        return Prediction(best if reason is None else None, probabilities[best], probabilities, reason)

    def _reason(self, reason: str | None, confidence: float, is_digit: float) -> str | None:
        """Why a digit is refused, if not already for the reason that preparation had."""
        if reason is not None:
            return reason
        if is_digit < self.minimum_is_digit:
            return NOT_A_DIGIT
        return UNCERTAIN if confidence < self.minimum_confidence else None

    def answer(self, prepared: Sequence[Prepared]) -> list[Answer]:
        """What `predict` says, without the probabilities, which take longer to write down than all the rest."""
        if not prepared:
            return []
        probabilities, is_digit = self.classify(np.array([one.image for one in prepared]))
        columns = (probabilities.argmax(axis=1), probabilities.max(axis=1), is_digit)
        return [
            self._answer(one.reason, *row)
            for one, row in zip(prepared, zip(*(column.tolist() for column in columns), strict=True), strict=True)
        ]

    def _answer(self, reason: str | None, best: int, confidence: float, is_digit: float) -> Answer:
        confidence = 1 / CLASSES if reason == BLANK else round(confidence, 6)
        reason = self._reason(reason, confidence, is_digit)
        return Answer(best if reason is None else None, confidence, reason)

    def predict_each(self, prepared: Sequence[Prepared | ImageError]) -> list[Prediction | ImageError]:
        """Predictions for prepared images, in their order; an error in place of an image stays in its place."""
        predictions = iter(self.predict([one for one in prepared if isinstance(one, Prepared)]))
        return [next(predictions) if isinstance(one, Prepared) else one for one in prepared]

    def read(self, files: Sequence[bytes]) -> list[Prediction | ImageError]:
        """Decodes, prepares and predicts image files, in their order; one that cannot be decoded gives its error."""
        return self.predict_each([prepare_or_error(partial(decode, data)) for data in files])

    def warm_up(self) -> None:
        """Predicts once, so that the first request finds everything loaded; on CUDA once a batch size.

        There, the first run of a size chooses the algorithms for it. Raises ModelError if the model cannot be run.
        """
        try:
            for size in range(1, MAXIMUM_BATCH + 1) if self.provider == "cuda" else [1]:
                self.classify(np.zeros((size, SIZE, SIZE), np.uint8))
        # ONNX Runtime has a class for each of its status codes, with no common one above them.
        except Exception as error:
            raise ModelError(f"{self.path}: expected an ONNX model that can be run; its first run failed.") from error


def prepare_or_error(load: Callable[[], Picture]) -> Prepared | ImageError:
    """Prepares the image that `load` gives, or gives the error that it raises."""
    try:
        return prepare_loaded(load)
    except ImageError as error:
        # Its traceback would keep the file in memory, in a cycle with the caller's list of results.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        return error


def prepare_loaded(load: Callable[[], Picture]) -> Prepared:
    """Prepares the image that `load` gives. Raises ImageError where that does."""
    try:
        with OneTurn():
            with tracing.stage("decode"):
                picture = load()
            with tracing.stage("prepare"):
                return prepare(picture)
    except ImageError:
        tracing.outcome(tracing.BROKEN)
        raise


def load_session(file: ModelFile, provider: str) -> onnxruntime.InferenceSession:
    """Loads an ONNX file onto the execution provider `auto`, `cpu` or `cuda`. Raises ModelError."""
    options = onnxruntime.SessionOptions()
    # One thread a session: requests run side by side, and a pool would spin and take cores from other processes.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # The arena keeps what the largest batch took for ever; the system's allocator is as fast for a network this small.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    if provider == "cpu":
        return _session(file, options, ["CPUExecutionProvider"])
    available = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if not available and provider == "cuda":
        raise ModelError(
            "DIGITS_PROVIDER: expected CUDA; this ONNX Runtime is built without it; install the `cuda` extra alone."
        )
    if available:
        onnxruntime.preload_dlls()
        session = _session(file, options, [("CUDAExecutionProvider", _CUDA_OPTIONS), "CPUExecutionProvider"])
        # ONNX Runtime falls back to the CPU with no more than a log line, now or at any later run.
        session.disable_fallback()
        if session.get_providers()[0] == "CUDAExecutionProvider":
            return session
        if provider == "cuda":
            raise ModelError("DIGITS_PROVIDER: expected CUDA; ONNX Runtime could not start it on this machine.")
    return _session(file, options, ["CPUExecutionProvider"])


_CUDA_OPTIONS = {
    # Grow by what is needed, not to the next power of two: others share the GPU.
    "arena_extend_strategy": "kSameAsRequested",
    # The exhaustive search makes the first run of each batch size take seconds.
    "cudnn_conv_algo_search": "HEURISTIC",
}


def _session(
    file: ModelFile, options: onnxruntime.SessionOptions, providers: list[Any]
) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(file.data, options, providers=providers)
    except Exception as error:  # as above
        raise ModelError(f"{file.path}: expected an ONNX model; got a file that ONNX Runtime cannot load.") from error


def _check_shape(path: Path, session: onnxruntime.InferenceSession) -> None:
    found = {
        one.name: (one.type, tuple(size if isinstance(size, int) else "N" for size in one.shape))
        for one in [*session.get_inputs(), *session.get_outputs()]
    }
    expected = {
        "images": ("tensor(uint8)", ("N", SIZE, SIZE)),
        "probabilities": ("tensor(float)", ("N", CLASSES)),
        "is_digit": ("tensor(float)", ("N",)),
    }
    for name, (kind, shape) in expected.items():
        if found.get(name) != (kind, shape):
            got = "{} {}".format(*found[name]) if name in found else f"only {', '.join(found)}"
            raise ModelError(f"{path}: expected a tensor `{name}`, {kind} {shape}; got {got}.".replace("'N'", "N"))
