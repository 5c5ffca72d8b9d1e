"""A process that scores chunks until there are no more."""

import gc
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from ctypes import c_int64
from multiprocessing.connection import Connection

from digits.decode import ImageError
from digits.memory import set_memory_options
from digits.preprocess import Preprocessed
from digits.recognizer import Recognizer
from digits.session import ModelError
from digits.settings import ModelSettings, SettingsError
from scoring.inputs.images import Chunk
from scoring.rows import ModelIdentity, Row, Scored, error_row

# The index that a worker reports while it is not processing an image.
NO_IMAGE = -1
# How much freed memory a worker keeps: with less, it may return memory and request it again for every image.
KEPT_BYTES = 2**26
# The signal that ends a worker that takes too long over one image.
OVERTIME = signal.SIGALRM

Images = list[Preprocessed | ImageError]


def work(connection: Connection, current: c_int64, settings: ModelSettings, image_seconds: float) -> None:
    """Sends the ModelIdentity that it has loaded, or an error, and then Scored for each (Chunk, errors) it receives.

    `errors` holds, by index, the images to leave alone, and the errors to report for them. `current` is the index of
    the image that is being processed. An image that takes longer than about `image_seconds` ends the process by
    OVERTIME, even while no Python code runs.
    """
    # Ctrl-C reaches every process of a terminal; the main process stops the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_memory_options(KEPT_BYTES)
    try:
        recognizer = Recognizer.from_settings(settings)
    except (ModelError, SettingsError) as error:
        connection.send(error)
        return
    model = identity(recognizer)
    # Everything loaded so far stays to the end: the garbage collector need not scan it.
    gc.freeze()
    with suppress(EOFError, ConnectionError):  # the main process has ended
        connection.send(model)
        while True:
            chunk, errors = connection.recv()
            images = _preprocessed(chunk, errors, current, image_seconds, recognizer)
            connection.send(_score(chunk.names, images, recognizer, model))


def identity(recognizer: Recognizer) -> ModelIdentity:
    """The version that a recognizer runs."""
    return ModelIdentity(**recognizer.model, sha256=recognizer.sha256)


def _preprocessed(
    chunk: Chunk,
    errors: Mapping[int, ImageError],
    current: c_int64,
    image_seconds: float,
    recognizer: Recognizer,
) -> Images:
    images: Images = []
    overdue = 0.0
    for index in range(len(chunk.names)):
        if index in errors:
            images.append(errors[index])
            continue
        current.value = index
        if (now := time.monotonic()) > overdue:
            signal.setitimer(signal.ITIMER_REAL, image_seconds)
            overdue = now + image_seconds / 32  # setting the timer for every image would take 1 % of the time
        try:
            images.append(recognizer.preprocess(chunk.load(index)).without_ink())
        except ImageError as error:
            images.append(error)
    signal.setitimer(signal.ITIMER_REAL, 0)
    current.value = NO_IMAGE
    return images


def _score(names: Sequence[str], images: Images, recognizer: Recognizer, model: ModelIdentity) -> Scored:
    """The rows of preprocessed images and of those that could not be decoded."""
    return Scored.from_rows(
        [
            error_row(name, result, model)
            if isinstance(result, ImageError)
            else Row(name, result.digit, result.confidence, result.reason, None, *model)
            for name, result in zip(names, recognizer.predict_each(images), strict=True)
        ]
    )
