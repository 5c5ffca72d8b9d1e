"""A process that scores chunks until there are no more."""

import gc
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from ctypes import c_int64
from multiprocessing.connection import Connection

from digits.classifier import ModelError
from digits.decode import ImageError
from digits.memory import set_memory_options
from digits.preprocess import Preprocessed, preprocess
from digits.recognizer import Prediction, Recognizer
from digits.settings import ModelSettings, SettingsError
from scoring.inputs.images import Chunk
from scoring.rows import Answer, Model, Scored, scored

# The place of a worker in its chunk while it is at none of the images.
NO_IMAGE = -1
# What there is in its place where none is loaded.
NO_MODEL = Model("", "", "")
# Of freed memory a worker keeps so much: with less, some, as it happens to lie, give back and take again all the time.
KEPT_BYTES = 2**26
# What ends a worker that is at one image for too long.
OVERTIME = signal.SIGALRM

Images = list[Preprocessed | ImageError]


def work(connection: Connection, place: c_int64, settings: ModelSettings, image_seconds: float) -> None:
    """Tells the Model that it has loaded, or a ModelError, and then Scored for each (Chunk, errors) that it is given.

    `errors` has the images that are not to be touched, by their places, and what is to be said of them. `place` always
    has the place of the image that is being decoded and prepared; one that takes longer than about `image_seconds` ends
    the process by OVERTIME, also where no Python runs.
    """
    _prepare_process()
    try:
        recognizer = Recognizer.from_settings(settings)
    except (ModelError, SettingsError) as error:
        connection.send(error)
        return
    model = Model(**recognizer.model, sha256=recognizer.classifier.sha256)
    _serve(connection, place, image_seconds, model, lambda names, images: score(names, images, recognizer, model))


def work_ahead(connection: Connection, place: c_int64, _settings: ModelSettings, image_seconds: float) -> None:
    """As `work`, of no model, and tells what `score` takes in place of Scored: for a GPU elsewhere."""
    _prepare_process()
    _serve(connection, place, image_seconds, NO_MODEL, lambda names, images: (names, images))


def _prepare_process() -> None:
    # Ctrl-C reaches every process of a terminal; the first of them says when it is over.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_memory_options(KEPT_BYTES)


def _serve(
    connection: Connection,
    place: c_int64,
    image_seconds: float,
    model: Model,
    answer: Callable[[Sequence[str], Images], object],
) -> None:
    # What is there now stays: looking through it for garbage, time and again, would find none.
    gc.freeze()
    with suppress(EOFError, ConnectionError):  # the process that gives and takes has ended
        connection.send(model)
        while True:
            chunk, errors = connection.recv()
            connection.send(answer(chunk.names, _load(chunk, errors, place, image_seconds)))


def _load(chunk: Chunk, errors: Mapping[int, ImageError], place: c_int64, image_seconds: float) -> Images:
    images: Images = []
    overdue = 0.0
    for index in range(len(chunk.names)):
        if index in errors:
            images.append(errors[index])
            continue
        place.value = index
        if (now := time.monotonic()) > overdue:
            signal.setitimer(signal.ITIMER_REAL, image_seconds)
            overdue = now + image_seconds / 32  # setting it for every image would take 1 % of the time
        try:
            images.append(preprocess(chunk.load(index)))
        except ImageError as error:
            images.append(error)
    signal.setitimer(signal.ITIMER_REAL, 0)
    place.value = NO_IMAGE
    return images


def score(names: Sequence[str], images: Images, recognizer: Recognizer, model: Model) -> Scored:
    """The rows of images that are preprocessed, or an error."""
    return scored(names, map(_answer, recognizer.predict_each(images)), model)


def _answer(result: Prediction | ImageError) -> Answer:
    if isinstance(result, ImageError):
        return None, None, None, str(result)
    return result.digit, result.confidence, result.reason, None
