"""A process that scores chunks until there are no more."""

import gc
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from ctypes import c_int64
from dataclasses import astuple, dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

from digits.decode import GreyImage, ImageError
from digits.memory import set_memory_options
from digits.recognizer import Recognizer
from digits.session import ModelError
from digits.settings import ModelSettings, SettingsError
from scoring.inputs.images import Chunk
from scoring.rows import PAGES, Layout, ModelIdentity, Row, Scored, error_row, row_without_digits

# The index that a worker reports while it is not processing an image.
NO_IMAGE = -1
# How much freed memory a worker keeps: with less, it may return memory and request it again for every image.
KEPT_BYTES = 2**26
# The signal that ends a worker that takes too long over one image.
OVERTIME = signal.SIGALRM

Result = TypeVar("Result")
_Task = tuple[Chunk, Mapping[int, ImageError]]


def work(
    connection: Connection, current: c_int64, settings: ModelSettings, image_seconds: float, layout: Layout
) -> None:
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
    tasks: SimpleQueue[_Task | None] = SimpleQueue()
    # The next task is received while this one is processed; also, the main process never waits for room in the pipe.
    Thread(target=_receive, args=(connection, tasks), daemon=True).start()
    score = _read_pages if layout == PAGES else _recognize
    with suppress(ConnectionError):  # the main process has ended
        connection.send(model)
        while task := tasks.get():
            chunk, errors = task
            images = _Images(chunk, errors, current, image_seconds)
            connection.send(Scored.from_rows(score(images, recognizer, model), layout))


def _receive(connection: Connection, tasks: SimpleQueue[_Task | None]) -> None:
    with suppress(EOFError, ConnectionError):
        while True:
            tasks.put(connection.recv())
    tasks.put(None)


def identity(recognizer: Recognizer) -> ModelIdentity:
    """The version that a recognizer runs."""
    return ModelIdentity(**recognizer.model, sha256=recognizer.sha256)


@dataclass(frozen=True)
class _Images:
    """A task's images."""

    chunk: Chunk
    errors: Mapping[int, ImageError]
    current: c_int64
    image_seconds: float

    def each(self, process: Callable[[GreyImage], Result]) -> Iterator[Result | ImageError]:
        """What a function makes of each image, in time, or the image's error."""
        overdue = 0.0
        for index in range(len(self.chunk.names)):
            if index in self.errors:
                yield self.errors[index]
                continue
            self.current.value = index
            if (now := time.monotonic()) > overdue:
                signal.setitimer(signal.ITIMER_REAL, self.image_seconds)
                # Setting the timer for every image would take 1 % of the time.
                overdue = now + self.image_seconds / 32
            try:
                yield process(self.chunk.load(index))
            except ImageError as error:
                yield error
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.current.value = NO_IMAGE


def _recognize(images: _Images, recognizer: Recognizer, model: ModelIdentity) -> list[Row]:
    preprocessed = list(images.each(lambda image: recognizer.preprocess(image).without_ink()))
    return [
        error_row(name, one, model)
        if isinstance(one, ImageError)
        else Row(name, one.digit, one.confidence, one.reason, None, *model)
        for name, one in zip(images.chunk.names, recognizer.predict_each(preprocessed), strict=True)
    ]


def _read_pages(images: _Images, recognizer: Recognizer, model: ModelIdentity) -> list[Row]:
    rows = []
    for name, one in zip(images.chunk.names, images.each(recognizer.read_image), strict=True):
        if isinstance(one, ImageError):
            rows.append(error_row(name, one, model))
            continue
        digits = [digit for digit in one.digits if digit.line is not None]
        rows += [
            Row(
                *(name, digit.digit, digit.confidence, digit.reason, None, *model, digit.line, digit.position),
                *(*astuple(digit.box), one.turned),
            )
            for digit in digits
        ] or [row_without_digits(name, bool(one.digits), one.turned, model)]
    return rows
