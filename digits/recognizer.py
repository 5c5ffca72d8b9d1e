"""The pipeline from image files to digits: decode, preprocess, classify, reject."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

from digits import tracing
from digits.classifier import CLASSES, Classifier, ModelVersion
from digits.decode import GreyImage, ImageError, Pixels, decode
from digits.finder import Box, Finder
from digits.memory import MemoryLockScope
from digits.preprocess import BLANK, NOT_A_DIGIT, SEVERAL_DIGITS, Preprocessed, preprocess
from digits.settings import ModelSettings
from digits.version import VersionFiles

UNCERTAIN = "uncertain"

Digit = Annotated[Annotated[int, Meta(ge=0, le=9)] | None, Meta(description="0 to 9, or null if rejected")]
Confidence = Annotated[float, Meta(ge=0, le=1)]
TenProbabilities = Annotated[
    tuple[Confidence, ...],
    Meta(min_length=CLASSES, max_length=CLASSES, description="one per digit, assuming the image shows one"),
]
Reason = Annotated[
    Annotated[str, Meta(extra_json_schema={"enum": [BLANK, SEVERAL_DIGITS, NOT_A_DIGIT, UNCERTAIN]})] | None,
    Meta(description="why `digit` is null; otherwise null"),
]


@dataclass(frozen=True)
class Prediction:
    """`digit` is None if the image is rejected; `reason` then says why."""

    digit: Digit
    confidence: Annotated[Confidence, Meta(description="the largest probability")]
    probabilities: TenProbabilities
    reason: Reason


class Recognizer:
    """A version of the model with its rejection thresholds; may be called from several threads."""

    def __init__(
        self,
        version: Path | VersionFiles,
        provider: str = ModelSettings.provider,
        minimum_is_digit: float = ModelSettings.minimum_is_digit,
        minimum_confidence: float = ModelSettings.minimum_confidence,
    ) -> None:
        """Loads a version on the execution provider `auto`, `cpu` or `cuda`. Raises ModelError.

        A path is that of the classifier, `<version>/model.onnx`, which has the finder next to it.
        """
        files = version if isinstance(version, VersionFiles) else VersionFiles.read(version)
        self.finder = Finder(files.finder, provider)
        self.classifier = Classifier(files.classifier, provider)
        self.sha256 = files.sha256
        self.minimum_is_digit, self.minimum_confidence = minimum_is_digit, minimum_confidence

    @classmethod
    def from_settings(cls, settings: ModelSettings, version: Path | VersionFiles | None = None) -> "Recognizer":
        """A recognizer of a version, by default the settings' highest. Raises ModelError and SettingsError."""
        thresholds = (settings.minimum_is_digit, settings.minimum_confidence)
        return cls(version or settings.model_path, settings.provider, *thresholds)

    @property
    def model(self) -> ModelVersion:
        """The model's name and version."""
        return self.classifier.model

    def warm_up(self) -> None:
        """Runs both networks once, so that the first request finds everything loaded. Raises ModelError."""
        self.finder.warm_up()
        self.classifier.warm_up()

    def recognize(self, files: Sequence[bytes]) -> list[Prediction | ImageError]:
        """Predictions for image files, in their order, or the error of a file that cannot be decoded."""
        return self.predict_each(self.preprocess_each(files))

    def preprocess_each(self, images: Iterable[bytes | Pixels | ImageError]) -> list[Preprocessed | ImageError]:
        """Image files or pixels, preprocessed, without ink, in their order; errors stay in place.

        A file that cannot be decoded becomes its error.
        """
        return [one if isinstance(one, ImageError) else self._preprocessed_or_error(one) for one in images]

    def decode_and_preprocess(self, data: bytes) -> Preprocessed:
        """The image in a file, preprocessed. Raises ImageError."""
        try:
            with MemoryLockScope():
                with tracing.span("decode"):
                    image = decode(data)
                return self.preprocess(image)
        except ImageError:
            tracing.outcome(tracing.BROKEN)
            raise

    def preprocess(self, image: GreyImage | Pixels) -> Preprocessed:
        """An image, grey, uint8 [H, W], preprocessed."""
        found = preprocess(image, self.finder)
        if isinstance(image, GreyImage) and image.file_size and found.box:
            return replace(found, box=_scaled(found.box, image.size, image.file_size))
        return found

    def predict_each(self, images: Sequence[Preprocessed | ImageError]) -> list[Prediction | ImageError]:
        """Predictions for preprocessed images, in their order; errors stay in place."""
        predictions = iter(self.predict([one for one in images if isinstance(one, Preprocessed)]))
        return [next(predictions) if isinstance(one, Preprocessed) else one for one in images]

    def predict(self, images: Sequence[Preprocessed]) -> list[Prediction]:
        """Predictions for preprocessed images, in their order."""
        if not images:
            return []
        probabilities, is_digit = self.classifier.classify(np.array([one.image for one in images]))
        digits = probabilities.argmax(axis=1).tolist()
        rows = probabilities.astype(np.float64).round(6).tolist()
        return [self._prediction(*one) for one in zip(images, digits, rows, is_digit.tolist(), strict=True)]

    def _prediction(self, image: Preprocessed, digit: int, probabilities: list[float], is_digit: float) -> Prediction:
        reason = image.reason
        if reason is not None and not image.image.any():
            probabilities = [1 / CLASSES] * CLASSES  # nothing was classified
        confidence = probabilities[digit]
        if reason is None:
            if is_digit < self.minimum_is_digit:
                reason = NOT_A_DIGIT
            elif confidence < self.minimum_confidence:
                reason = UNCERTAIN
        tracing.outcome(reason or tracing.DIGIT)
        return Prediction(digit if reason is None else None, confidence, tuple(probabilities), reason)

    def _preprocessed_or_error(self, image: bytes | Pixels) -> Preprocessed | ImageError:
        try:
            found = self.decode_and_preprocess(image) if isinstance(image, bytes) else self.preprocess(image)
            return found.without_ink()
        except ImageError as error:
            # Its traceback would keep the file in memory, in a cycle with the caller's list of results.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            return error


def _scaled(box: Box, size: tuple[int, int], file_size: tuple[int, int]) -> Box:
    """A box in an image of this height and width, as it is in the file's."""
    down, across = (whole / part for whole, part in zip(file_size, size, strict=True))
    left, top = round(box.left * across), round(box.top * down)
    right, bottom = round((box.left + box.width) * across), round((box.top + box.height) * down)
    return Box(left, top, right - left, bottom - top)
