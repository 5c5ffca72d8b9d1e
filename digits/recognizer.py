"""The pipeline from image files to digits: decode, preprocess, classify, reject."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from digits import tracing
from digits.classifier import CLASSES, Classifier, ModelVersion, Probabilities
from digits.decode import GreyImage, ImageError, ImageTooLargeError, Pixels, decode
from digits.finder import Box, Finder
from digits.lines import begins_number, lines_of
from digits.memory import MemoryLockScope
from digits.page import MOST_SEEN, distinct, in_text, look_at_page, turned_back
from digits.preprocess import SIZE, Preprocessed, centred, preprocess
from digits.reasons import BLANK, NOT_A_DIGIT, SEVERAL_DIGITS, UNCERTAIN
from digits.settings import ModelSettings
from digits.version import VersionFiles

Image = TypeVar("Image")
Result = TypeVar("Result")

# All that was found is one digit if it is read with this confidence, and more surely than two of its parts: the
# detached bar of a 5 looks like a 1.
TOGETHER = 0.95
# A page may hold so many digits.
MOST_DIGITS = 500
# Upright pages are read with a mean confidence of 0.93 and more, others with 0.90 and less. Below this, a page is also
# looked at turned; that counts if so many digits are then read with so much more confidence.
SURE_OF_TURN, TELLING, CLEARLY = 0.92, 10, 0.03
Turn = Literal[0, 90, 180, 270]
TURNS: tuple[Turn, ...] = (90, 180, 270)

Digit = Annotated[Annotated[int, Meta(ge=0, le=9)] | None, Meta(description="0 to 9, or null if rejected")]
CONFIDENCE = "how likely the image shows this digit: the largest probability times `is_digit`"
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
    confidence: Annotated[Confidence, Meta(description=CONFIDENCE)]
    probabilities: TenProbabilities
    reason: Reason


@dataclass(frozen=True, kw_only=True)
class ReadDigit(Prediction):
    """A digit on a page, or a mark that was found and is none."""

    box: Annotated[Box, Meta(description="its place in the upright image")]
    line: Annotated[Annotated[int, Meta(ge=0)] | None, Meta(description="its line, from 0, or null for no digit")]
    position: Annotated[
        Annotated[int, Meta(ge=0)] | None, Meta(description="its place in the line's text, from 0, or null")
    ]


@dataclass(frozen=True)
class Reading:
    """What a page says: `digits` in reading order, then the marks that are none."""

    lines: Annotated[
        list[str],
        Meta(description="the digits of each line, `?` for an uncertain one, a blank between two numbers"),
    ]
    digits: Sequence[ReadDigit]
    turned: Annotated[
        Turn, Meta(description="degrees clockwise by which the image was turned to be read; boxes are as before that")
    ] = 0


@dataclass(frozen=True)
class _Look:
    """A page, turned clockwise, and each of its digits and marks: its place, 28×28 image and prediction."""

    turned: Turn
    places: Sequence[Box]
    images: Sequence[Preprocessed]
    predictions: Sequence[Prediction]

    @property
    def digits(self) -> int:
        """How many digits there are, without the marks that are none."""
        return sum(one.reason != NOT_A_DIGIT for one in self.predictions)

    @property
    def confidence(self) -> float:
        """The mean confidence, also of the marks, of which a turned page has more; 0 if there are none."""
        return float(np.mean([one.confidence for one in self.predictions])) if self.predictions else 0.0


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

        def preprocessed(image: bytes | Pixels) -> Preprocessed:
            found = self.decode_and_preprocess(image) if isinstance(image, bytes) else self.preprocess(image)
            return found.without_ink()

        return [one if isinstance(one, ImageError) else _or_error(preprocessed, one) for one in images]

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
        found = self._without_marks(preprocess(image, self.finder))
        if isinstance(image, GreyImage) and found.box:
            return replace(found, box=_in_file(found.box, image))
        return found

    def predict_each(self, images: Sequence[Preprocessed | ImageError]) -> list[Prediction | ImageError]:
        """Predictions for preprocessed images, in their order; errors stay in place."""
        predictions = iter(self.predict([one for one in images if isinstance(one, Preprocessed)]))
        return [next(predictions) if isinstance(one, Preprocessed) else one for one in images]

    def predict(self, images: Sequence[Preprocessed]) -> list[Prediction]:
        """Predictions for preprocessed images, in their order."""
        predictions = self._classified(images)
        for one in predictions:
            tracing.outcome(one.reason or tracing.DIGIT)
        return predictions

    def read(self, data: bytes) -> Reading:
        """All digits on the page in an image file. Raises ImageError, also if there are more than MOST_DIGITS."""
        return self.read_with_images(data)[0]

    def read_with_images(self, data: bytes) -> tuple[Reading, list[Pixels]]:
        """As `read`, and the network's input image for each of `digits`, uint8 [28, 28]."""
        return self._read(lambda: decode(data))

    def read_image(self, image: GreyImage) -> Reading:
        """As `read`, of an image that is decoded."""
        return self._read(lambda: image)[0]

    def _read(self, load: Callable[[], GreyImage]) -> tuple[Reading, list[Pixels]]:
        try:
            with MemoryLockScope():
                with tracing.span("decode"):
                    image = load()
                    pixels = image.whole()
                look = self._upright(pixels)
            if look.digits > MOST_DIGITS:
                raise ImageTooLargeError(f"expected at most {MOST_DIGITS} digits on a page; found {look.digits}")
        except ImageError:
            tracing.outcome(tracing.BROKEN)
            raise
        boxes = [_in_file(turned_back(one, look.turned, pixels.shape), image) for one in look.places]
        lines, digits, order = _in_order(look.predictions, look.places, boxes)
        reading = Reading(lines, digits, look.turned)
        tracing.page(sum(one.line is not None for one in reading.digits))
        return reading, [look.images[one].image for one in order]

    def _upright(self, pixels: Pixels) -> _Look:
        """The page as it comes, or turned if enough digits are read far more surely then."""
        look = self._look(pixels, 0)
        if not look.predictions or look.confidence > SURE_OF_TURN:
            return look
        others = (self._look(pixels, turned) for turned in TURNS)
        telling = [one for one in others if one.digits >= TELLING]
        best = max(telling, key=lambda one: one.confidence, default=look)
        return best if best.confidence > look.confidence + CLEARLY else look

    def _look(self, pixels: Pixels, turned: Turn) -> _Look:
        seen = look_at_page(pixels, self.finder, turned)
        if len(seen) > MOST_SEEN and turned:
            seen = []  # it is read as it comes
        if len(seen) > MOST_SEEN:
            raise ImageTooLargeError(f"expected at most {MOST_DIGITS} digits on a page; found far more")
        with tracing.span("prepare"):
            images = [centred(one.ink) for one in seen]
        probabilities, is_digit = self.classifier.classify(np.array(images).reshape(-1, SIZE, SIZE))
        readings = probabilities * is_digit[:, None]
        kept = distinct(seen, readings.argmax(axis=1), readings.max(axis=1))
        chosen = [Preprocessed(images[one]) for one in kept]
        predictions = self._predictions(chosen, probabilities[kept], is_digit[kept])
        for one in in_text(seen, kept, readings):
            predictions[one] = replace(predictions[one], digit=None, reason=NOT_A_DIGIT)
        return _Look(turned, [seen[one].box for one in kept], chosen, predictions)

    def read_each(self, files: Sequence[bytes]) -> list[Reading | ImageError]:
        """All digits of the pages in image files, in their order, or the error of a file that cannot be read."""
        return [_or_error(self.read, data) for data in files]

    def _without_marks(self, image: Preprocessed) -> Preprocessed:
        """The image, which holds several digits only if what lies beside the first one is read as one, too."""
        if image.others is None:
            return image
        together = image.others.together
        looks = [image.image, *image.others.images, together.image]
        probabilities, is_digit = self.classifier.classify(np.array(looks))
        first, *others, all_together = (probabilities.max(axis=1) * is_digit).tolist()
        if all(one < least for one, least in zip(others, image.others.least, strict=True)):
            return replace(image, reason=None, others=None)
        if all_together > max(TOGETHER, first * max(others)):
            return together
        return replace(image, others=None)

    def _classified(self, images: Sequence[Preprocessed]) -> list[Prediction]:
        if not images:
            return []
        return self._predictions(images, *self.classifier.classify(np.array([one.image for one in images])))

    def _predictions(
        self, images: Sequence[Preprocessed], probabilities: Probabilities, is_digit: NDArray[np.float32]
    ) -> list[Prediction]:
        digits = probabilities.argmax(axis=1).tolist()
        rows = probabilities.astype(np.float64).round(6).tolist()
        return [self._prediction(*one) for one in zip(images, digits, rows, is_digit.tolist(), strict=True)]

    def _prediction(self, image: Preprocessed, digit: int, probabilities: list[float], is_digit: float) -> Prediction:
        reason = image.reason
        if reason is not None and not image.image.any():
            probabilities, is_digit = [1 / CLASSES] * CLASSES, 1.0  # nothing was classified
        confidence = round(probabilities[digit] * is_digit, 6)
        if reason is None:
            if is_digit < self.minimum_is_digit:
                reason = NOT_A_DIGIT
            elif confidence < self.minimum_confidence:
                reason = UNCERTAIN
        return Prediction(digit if reason is None else None, confidence, tuple(probabilities), reason)


def _or_error(function: Callable[[Image], Result], image: Image) -> Result | ImageError:
    """What a function makes of an image, or its error."""
    try:
        return function(image)
    except ImageError as error:
        # Its traceback would keep the file in memory, in a cycle with the caller's list of results.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        return error


def _in_order(
    predictions: Sequence[Prediction], places: Sequence[Box], boxes: Sequence[Box]
) -> tuple[list[str], list[ReadDigit], list[int]]:
    """The lines of text, and the digits in reading order by their places, with these boxes and as which prediction."""
    is_digit = [one.reason != NOT_A_DIGIT for one in predictions]
    kept = [number for number, one in enumerate(is_digit) if one]
    kept_places = [places[number] for number in kept]
    texts, order = [], []
    places_in_text: list[tuple[int | None, int | None]] = []
    found = lines_of(kept_places)
    first = begins_number(kept_places, found)
    for line, numbers in enumerate(found):
        text = ""
        for one in numbers:
            digit = predictions[kept[one]].digit
            text += " " * (one in first)
            places_in_text.append((line, len(text)))
            text += "?" if digit is None else str(digit)
            order.append(kept[one])
        texts.append(text)
    for number, one in enumerate(is_digit):
        if not one:
            order.append(number)
            places_in_text.append((None, None))
    digits = [
        ReadDigit(**vars(predictions[one]), box=boxes[one], line=line, position=position)
        for one, (line, position) in zip(order, places_in_text, strict=True)
    ]
    return texts, digits, order


def _in_file(box: Box, image: GreyImage) -> Box:
    """A box in an image, as it is in the file."""
    if image.file_size is None:
        return box
    down, across = (whole / part for whole, part in zip(image.file_size, image.size, strict=True))
    left, top = round(box.left * across), round(box.top * down)
    right, bottom = round((box.left + box.width) * across), round((box.top + box.height) * down)
    return Box(left, top, right - left, bottom - top)
