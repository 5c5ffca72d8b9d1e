"""Scores with a running service, several requests at a time."""

import io
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from itertools import chain
from queue import SimpleQueue
from threading import Thread
from typing import Self

import numpy as np
from PIL import Image

from digits.decode import ImageError, Pixels, check_length
from scoring.engines.batch_size import AdaptiveBatchSize
from scoring.engines.client import Client, Files, LostError, RejectedError
from scoring.inputs.images import Chunk, Content, grouped, read
from scoring.rows import IMAGES, PAGES, Layout, ModelIdentity, Row, Scored, error_row

# Limits of a request: images, fewer if they take longer, and bytes, unless a single image has more.
FIRST_IMAGES, MOST_IMAGES, REQUEST_BYTES = 8, 64, 2 * 2**20
LEAST_SECONDS, MOST_SECONDS = 0.25, 1.0
# How many batches are under way per concurrent request, so that no request waits for its images.
AHEAD = 2
# How often an image may fail on its own before its row says so: if the service is healthy right after each failure, and
# in all, as the image may make the service unhealthy, or the service may fail on any image now and then.
HEALTHY_FAILURES, ALL_FAILURES = 4, 8

NamedFile = tuple[str, bytes | ImageError]
Task = tuple[Chunk, Future[Scored | None]]


class RemoteEngine:
    """Sends images to a service. An image on which it fails repeatedly becomes one error row."""

    model: ModelIdentity

    def __init__(self, url: str, concurrency: int, layout: Layout = IMAGES) -> None:
        """Raises ScoringError if the URL is not a service's."""
        self._client, self._concurrency, self.layout = Client(url, concurrency, layout), concurrency, layout
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        first = 1 if layout == PAGES else FIRST_IMAGES
        self._batch_size = AdaptiveBatchSize(first, MOST_IMAGES, LEAST_SECONDS, MOST_SECONDS)
        self._bytes = REQUEST_BYTES
        self._blank = _png(np.zeros((28, 28), np.uint8))

    def __enter__(self) -> Self:
        self._client.connect()
        self.model = self._client.model
        for _ in range(self._concurrency):
            # Daemons, so that an interrupted run need not wait for answers.
            Thread(target=self._work, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._client.close()
        for _ in range(self._concurrency):
            self._tasks.put(None)

    def score(self, chunks: Iterable[Chunk]) -> Iterator[Scored]:
        """The rows of all chunks, in order. Raises ScoringError if the service is gone or its model has changed."""
        batches = self._batch_size.cut(chunks)
        window: deque[Task] = deque()
        while True:
            while len(window) < AHEAD * self._concurrency and (batch := next(batches, None)):
                window.append((batch, Future()))
                self._tasks.put(window[-1])
            if not window:
                return
            batch, future = window.popleft()
            scored = future.result()
            if scored is None:
                # The image at fault is found only if no other request is under way.
                wait([other for _, other in window])
                rows = chain.from_iterable(map(self._alone, _named_files(batch)))
                scored = Scored.from_rows(list(rows), self.layout)
            yield scored

    def _work(self) -> None:
        while task := self._tasks.get():
            batch, future = task
            try:
                future.set_result(self._score(batch))
            except BaseException as error:
                future.set_exception(error)

    def _score(self, batch: Chunk) -> Scored | None:
        """The rows of some images; None if a request failed."""
        requests = grouped(
            _named_files(batch), lambda file: len(file[1]) if isinstance(file[1], bytes) else 0, self._bytes
        )
        try:
            return Scored.from_rows([row for files in requests for row in self._rows(files)], self.layout)
        except (LostError, RejectedError):
            return None

    def _rows(self, files: list[NamedFile]) -> Iterator[Row]:
        sent = [(name, file) for name, file in files if isinstance(file, bytes)]
        rows = iter(self._ask(sent) if sent else [])
        for name, file in files:
            yield from [error_row(name, file, self.model)] if isinstance(file, ImageError) else next(rows)

    def _ask(self, files: Files) -> list[list[Row]]:
        try:
            try:
                rows, seconds = self._client.ask(files)
            except LostError:
                self._client.recover(self._blank)
                rows, seconds = self._client.ask(files)
        except RejectedError as error:
            if error.status == 413 and len(files) > 1:
                self._bytes = min(self._bytes, sum(len(file) for _, file in files) // 2)
            raise
        self._batch_size.adapt(len(files), seconds)
        return rows

    def _alone(self, named_file: NamedFile) -> list[Row]:
        name, file = named_file
        if isinstance(file, ImageError):
            return [error_row(name, file, self.model)]
        healthy = failures = 0
        while True:
            try:
                return self._client.ask([(name, file)])[0][0]
            except (LostError, RejectedError) as error:
                healthy += self._client.recover(self._blank)
                failures += 1
                if healthy == HEALTHY_FAILURES or failures == ALL_FAILURES:
                    return [error_row(name, f"the service fails on this image: {error}", self.model)]


def _named_files(batch: Chunk) -> Iterator[NamedFile]:
    return zip(batch.names, map(_file, batch.contents), strict=True)


def _file(content: Content) -> bytes | ImageError:
    """The image file to send, or the error that decoding the image locally would give."""
    try:
        file = read(content) if isinstance(content, str) else content
        if isinstance(file, np.ndarray):
            return _png(file)
        if isinstance(file, bytes):
            check_length(file)
    except ImageError as error:
        return error
    return file


def _png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
