"""Scores in one process per core, each of which decodes, preprocesses and classifies."""

import multiprocessing
import signal
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from ctypes import c_int64
from dataclasses import dataclass, field, replace
from itertools import count
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from typing import Self, cast

from digits.decode import ImageError
from digits.settings import ModelSettings
from digits.system import usable_cores
from scoring.engines.batch_size import AdaptiveBatchSize
from scoring.engines.worker import NO_IMAGE, OVERTIME, work
from scoring.errors import ScoringError
from scoring.inputs.images import CHUNK, Chunk
from scoring.rows import IMAGES, PAGES, Layout, ModelIdentity, Scored

# How long an image may take to decode and preprocess; the largest that are accepted take a second or two.
IMAGE_SECONDS = 30.0
# A task takes about this long: short enough that little is lost when a process dies, long enough that handing it over
# costs little.
FIRST_IMAGES, LEAST_SECONDS, MOST_SECONDS = 32, 0.05, 0.2
# How many tasks may be finished while an earlier one is not, for example because an image hangs.
AHEAD = 64
# How often a process may die while it processes one image before that image becomes an error row; and how often between
# the images of a task before the run ends.
IMAGE_DEATHS, CHUNK_DEATHS = 2, 3


@dataclass
class _Task:
    """Images for a process; the deaths of processes by index of an image, or NO_IMAGE; and the errors to report."""

    number: int
    chunk: Chunk
    deaths: Counter[int] = field(default_factory=Counter)
    errors: dict[int, ImageError] = field(default_factory=dict)


class _Worker:
    """A process, with its current task and possibly the next one."""

    def __init__(
        self, context: ForkServerContext, settings: ModelSettings, image_seconds: float, layout: Layout
    ) -> None:
        self.connection, theirs = context.Pipe()
        self.current = context.RawValue(c_int64, NO_IMAGE)
        arguments = (theirs, self.current, settings, image_seconds, layout)
        self.process = context.Process(target=work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self.tasks: deque[_Task] = deque()
        self.since = 0.0  # when it began the current task

    @property
    def has_room(self) -> bool:
        return len(self.tasks) < 2

    def give(self, task: _Task) -> None:
        if not self.tasks:
            self.since = time.monotonic()
        self.tasks.append(task)
        with suppress(OSError):  # it has died, as reading its answer will show
            self.connection.send((task.chunk, task.errors))

    def answer(self) -> object:
        """What it has sent; None if it has died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def death(self) -> int:
        """The signal that ended it, negative, or its exit code."""
        self.process.join()
        return self.process.exitcode or 0

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()
        self.process.close()


@contextmanager
def _shielded_from_ctrl_c() -> Iterator[None]:
    """Processes started here never receive Ctrl-C, which a terminal sends to all of its processes."""
    resource_tracker.ensure_running()  # started later, it would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class LocalEngine:
    """Processes that score. One that dies is replaced; an image that kills processes becomes one error row."""

    model: ModelIdentity

    def __init__(
        self,
        settings: ModelSettings,
        processes: int | None = None,
        image_seconds: float = IMAGE_SECONDS,
        layout: Layout = IMAGES,
    ) -> None:
        self._settings, self._image_seconds, self.layout = settings, image_seconds, layout
        self._count = processes or usable_cores()
        # Workers are forked from a process that has only imported the code, so that they inherit no open connections.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([work.__module__])
        self._workers: list[_Worker] = []
        first = 1 if layout == PAGES else FIRST_IMAGES
        self._batch_size = AdaptiveBatchSize(first, CHUNK, LEAST_SECONDS, MOST_SECONDS)

    def __enter__(self) -> Self:
        try:
            # The whole run uses the version that is the highest now.
            self._settings = replace(self._settings, model=self._settings.model_path)
            with _shielded_from_ctrl_c():
                self._workers = [self._start() for _ in range(self._count)]
            self.model = self._loaded(0)
            for number in range(1, self._count):
                self._check_model(number)
        except BaseException as error:
            self._stop()
            if isinstance(error, OSError):
                raise ScoringError(f"processes cannot be started: {error.strerror or error}") from error
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop()

    def _start(self) -> _Worker:
        return _Worker(self._context, self._settings, self._image_seconds, self.layout)

    def _stop(self) -> None:
        while self._workers:
            self._workers.pop().stop()

    def _loaded(self, number: int) -> ModelIdentity:
        """The model that a new process has loaded; replaces processes that die while they start."""
        for _ in range(CHUNK_DEATHS):
            answer = self._workers[number].answer()
            if isinstance(answer, Exception):
                raise ScoringError(str(answer)) from answer
            if answer is not None:
                return cast(ModelIdentity, answer)
            death = self._workers[number].death()
            self._replace(number)
        raise ScoringError(f"processes cannot be started: each was ended by {_name(death)}")

    def _check_model(self, number: int) -> None:
        if (found := self._loaded(number)) != self.model:
            raise ScoringError(f"the model changed from {self.model} to {found} during the run")

    def _replace(self, number: int) -> None:
        self._workers[number].stop()
        self._workers[number] = self._start()

    def score(self, chunks: Iterable[Chunk]) -> Iterator[Scored]:
        """The rows of all chunks, in order. Raises ScoringError if processes die, but not because of an image."""
        tasks = map(_Task, count(), self._batch_size.cut(chunks))
        upcoming = next(tasks, None)
        again: deque[_Task] = deque()
        finished: dict[int, Scored] = {}
        first = 0  # the first task that is not finished
        while True:
            for worker in self._workers * 2:
                if again and not worker.tasks:
                    worker.give(again.popleft())
                elif upcoming and upcoming.number < first + AHEAD and worker.has_room:
                    worker.give(upcoming)
                    upcoming = next(tasks, None)
            # Only after the tasks are given, so that no process waits while the caller handles the rows.
            while first in finished:
                yield finished.pop(first)
                first += 1
            busy = {worker.connection.fileno(): worker for worker in self._workers if worker.tasks}
            if not busy and not upcoming:
                return
            for descriptor in wait(busy):
                worker = busy[cast(int, descriptor)]
                answer = worker.answer()
                if answer is None:
                    again.extend(worker.tasks)
                    self._handle_death(worker)
                    continue
                task = worker.tasks.popleft()
                finished[task.number] = cast(Scored, answer)
                self._batch_size.adapt(len(task.chunk.names), time.monotonic() - worker.since)
                worker.since = time.monotonic()

    def _handle_death(self, worker: _Worker) -> None:
        """Replaces a process, and gives up the image that has killed IMAGE_DEATHS processes."""
        task, index, death = worker.tasks[0], worker.current.value, worker.death()
        task.deaths[index] += 1
        if index != NO_IMAGE and task.deaths[index] == IMAGE_DEATHS:
            task.errors[index] = ImageError(f"expected an image that can be decoded; {self._cause(death)}")
        elif task.deaths[index] == CHUNK_DEATHS:
            raise ScoringError(f"{task.chunk.names[0]} and the images after it: {self._cause(death)} each time")
        number = self._workers.index(worker)
        self._replace(number)
        self._check_model(number)

    def _cause(self, death: int) -> str:
        if death == -OVERTIME:
            return f"it took longer than {self._image_seconds:g} s"
        return f"it ended the process by {_name(death)}"


def _name(death: int) -> str:
    return signal.Signals(-death).name if death < 0 else f"exit code {death}"
