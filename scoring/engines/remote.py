"""Scores through a running service, several requests at a time."""

import io
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from itertools import chain
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

from digits.decode import MAXIMUM_BYTES, ImageError, ImageTooLargeError
from digits.picture import Pixels
from scoring.engines.batch_size import Pace
from scoring.engines.client import Client, LostError, RefusedError
from scoring.inputs.images import Chunk, Content, read
from scoring.rows import Answer, Model, Scored, scored

# Requests have so many images at most, fewer where these take longer, and so many bytes, unless one image has more.
FIRST_IMAGES, IMAGES, REQUEST_BYTES = 8, 64, 2 * 2**20
LEAST_SECONDS, MOST_SECONDS = 0.25, 1.0
# How many parts of the images may be under way for each request at a time: what a request waits for is at hand.
AHEAD = 2
# How often an image may fail alone before that is what its row says: where the service is well right after it, and in
# all, as the service may be ill after it because of it, or may fail on anything now and then.
WELL_FAILURES, ALL_FAILURES = 4, 8


class RemoteEngine:
    """Requests to a service; an image that it fails on, again and again, costs a row."""

    model: Model

    def __init__(self, url: str, concurrency: int) -> None:
        """Raises ScoringError for what is no URL of a service."""
        self._client, self._concurrency = Client(url, concurrency), concurrency
        self._tasks: SimpleQueue[tuple[Chunk, Future[Scored | None]] | None] = SimpleQueue()
        self._pace = Pace(FIRST_IMAGES, IMAGES, LEAST_SECONDS, MOST_SECONDS)
        self._bytes = REQUEST_BYTES
        self._blank = _png(np.zeros((28, 28), np.uint8))

    def __enter__(self) -> Self:
        self._client.connect()
        self.model = self._client.model
        for _ in range(self._concurrency):
            # Whoever ends the run need not wait for answers.
            Thread(target=self._work, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        for _ in range(self._concurrency):
            self._tasks.put(None)

    def score(self, chunks: Iterable[Chunk]) -> Iterator[Scored]:
        """The rows of every chunk, in their order. Raises ScoringError if the service is gone, or has another model."""
        parts = self._pace.parts(chunks)
        window: deque[tuple[Chunk, Future[Scored | None]]] = deque()
        while True:
            while len(window) < AHEAD * self._concurrency and (part := next(parts, None)):
                window.append((part, Future()))
                self._tasks.put(window[-1])
            if not window:
                return
            part, future = window.popleft()
            rows = future.result()
            if rows is None:
                # What the service fails on shows only where it has nothing else to fail on.
                wait([other for _, other in window])
                rows = scored(part.names, map(self._alone, part.contents), self.model)
            yield rows

    def _work(self) -> None:
        while task := self._tasks.get():
            part, future = task
            try:
                future.set_result(self._score(part))
            except BaseException as error:
                future.set_exception(error)

    def _score(self, part: Chunk) -> Scored | None:
        """The rows of some images; None if a request failed."""
        try:
            answers = [self._answers(files) for files in _requests(part.contents, self._bytes)]
        except (LostError, RefusedError):
            return None
        return scored(part.names, chain.from_iterable(answers), self.model)

    def _answers(self, files: list[bytes | ImageError]) -> list[Answer]:
        sent = [one for one in files if isinstance(one, bytes)]
        answers = iter(self._ask(sent) if sent else [])
        return [next(answers) if isinstance(one, bytes) else _failed(one) for one in files]

    def _ask(self, files: list[bytes]) -> list[Answer]:
        try:
            try:
                answers, seconds = self._client.ask(files)
            except LostError:
                self._client.recover(self._blank)
                answers, seconds = self._client.ask(files)
        except RefusedError as error:
            if error.status == 413 and len(files) > 1:
                self._bytes = min(self._bytes, sum(map(len, files)) // 2)
            raise
        self._pace.adapt(len(files), seconds)
        return answers

    def _alone(self, content: Content) -> Answer:
        file = _file(content)
        if isinstance(file, ImageError):
            return _failed(file)
        well = failures = 0
        while True:
            try:
                return self._client.ask([file])[0][0]
            except (LostError, RefusedError) as error:
                well += self._client.recover(self._blank)
                failures += 1
                if well == WELL_FAILURES or failures == ALL_FAILURES:
                    return _failed(ImageError(f"expected an image that the service answers; {error}"))


def _failed(error: ImageError) -> Answer:
    return None, None, None, str(error)


def _requests(contents: Iterable[Content], most_bytes: int) -> Iterator[list[bytes | ImageError]]:
    """Contents as image files, so many at a time as go into a request."""
    files: list[bytes | ImageError] = []
    size = 0
    for file in map(_file, contents):
        length = len(file) if isinstance(file, bytes) else 0
        if size and size + length > most_bytes:
            yield files
            files, size = [], 0
        files.append(file)
        size += length
    yield files


def _file(content: Content) -> bytes | ImageError:
    """The image file to send, or why there is none, as it would be said if the image were decoded here."""
    try:
        file = read(content) if isinstance(content, str) else content
    except ImageError as error:
        return error
    if isinstance(file, np.ndarray):
        file = _png(file)
    if isinstance(file, bytes) and len(file) > MAXIMUM_BYTES:
        return ImageTooLargeError(f"expected at most {MAXIMUM_BYTES} bytes; got {len(file)}")
    return file


def _png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
