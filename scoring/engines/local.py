"""Scores in processes of its own, one a core, each of which decodes, prepares and runs the network."""

import multiprocessing
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from ctypes import c_int64
from dataclasses import dataclass, field, replace
from itertools import count
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from types import TracebackType
from typing import Self, cast

from digits.decode import ImageError
from digits.settings import ModelSettings
from digits.system import usable_cores
from scoring.engines.batch_size import Pace
from scoring.engines.worker import NO_IMAGE, OVERTIME, work
from scoring.errors import ScoringError
from scoring.inputs.images import CHUNK, Chunk
from scoring.rows import Model, Scored

# An image may take this long to decode and prepare; the largest that are accepted take a second or two.
IMAGE_SECONDS = 30.0
# A process is handed as many images as take about this long: few enough that little is lost when it dies, many enough
# that handing them over costs little.
FIRST_IMAGES, LEAST_SECONDS, MOST_SECONDS = 32, 0.05, 0.2
# A process has the next task while it works on one, if that is as small as this: with a larger one in the pipe this
# process might wait until it is taken, and the other until its rows are, for ever.
WAITING_BYTES = 2**14
# So many tasks may be done while an earlier one is not, as an image hangs, say.
AHEAD = 64
# How often a process may die over one image before that is what the image's row says, and over a chunk, but none of its
# images, before the run ends.
IMAGE_DEATHS, CHUNK_DEATHS = 2, 3


@dataclass
class _Task:
    """Images for a process: which task it is, how often one died over which of them or NO_IMAGE, what is said then."""

    number: int
    chunk: Chunk
    deaths: Counter[int] = field(default_factory=Counter)
    errors: dict[int, ImageError] = field(default_factory=dict)


class _Worker:
    """A process, with what it is working on and what it does next."""

    def __init__(
        self, context: ForkServerContext, target: Callable[..., None], settings: ModelSettings, image_seconds: float
    ) -> None:
        self.connection, theirs = context.Pipe()
        self.place = context.RawValue(c_int64, NO_IMAGE)
        self.process = context.Process(target=target, args=(theirs, self.place, settings, image_seconds), daemon=True)
        self.process.start()
        theirs.close()
        self.tasks: deque[_Task] = deque()
        self.since = 0.0  # it works on the first of them

    def takes(self, task: _Task) -> bool:
        return not self.tasks or (len(self.tasks) == 1 and task.chunk.size <= WAITING_BYTES)

    def give(self, task: _Task) -> None:
        if not self.tasks:
            self.since = time.monotonic()
        self.tasks.append(task)
        with suppress(OSError):  # it has died, which asking for its answer will show
            self.connection.send((task.chunk, task.errors))

    def answer(self) -> object:
        """What it has sent; None if it has died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def death(self) -> int:
        """The signal that it died of, negative, or its exit status."""
        self.process.join()
        return self.process.exitcode or 0

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()
        self.process.close()


@contextmanager
def _left_alone_by_the_terminal() -> Iterator[None]:
    """Processes that are started here, and theirs, never get Ctrl-C, which a terminal sends to all at once."""
    resource_tracker.ensure_running()  # which would let the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class LocalEngine:
    """Processes that score; one that dies, by whatever it was given, is replaced, and costs a row at most."""

    model: Model

    def __init__(
        self,
        settings: ModelSettings,
        processes: int | None = None,
        image_seconds: float = IMAGE_SECONDS,
        target: Callable[..., None] = work,
    ) -> None:
        self._settings, self._image_seconds, self._target = settings, image_seconds, target
        self._count = processes or usable_cores()
        # Forked from a process that has nothing but the code: what this one has, connections above all, is not theirs.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([work.__module__])
        self._workers: list[_Worker] = []
        self._pace = Pace(FIRST_IMAGES, CHUNK, LEAST_SECONDS, MOST_SECONDS)

    def __enter__(self) -> Self:
        try:
            # The version that is the highest now, to the end of the run.
            self._settings = replace(self._settings, model=self._settings.model_path)
            with _left_alone_by_the_terminal():
                self._workers = [self._start() for _ in range(self._count)]
            self.model = self._loaded(0)
            for number in range(1, self._count):
                self._check_model(self._loaded(number))
        except OSError as error:
            self._stop()
            raise ScoringError(f"expected to start processes that score; got: {error.strerror or error}") from error
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self) -> _Worker:
        return _Worker(self._context, self._target, self._settings, self._image_seconds)

    def _stop(self) -> None:
        while self._workers:
            self._workers.pop().stop()

    def _loaded(self, number: int) -> Model:
        """What a process that has been started has loaded; it may take several for that."""
        for _ in range(CHUNK_DEATHS):
            answer = self._workers[number].answer()
            if isinstance(answer, Exception):
                raise ScoringError(str(answer)) from answer
            if answer is not None:
                return cast(Model, answer)
            death = self._workers[number].death()
            self._replace(number)
        raise ScoringError(f"expected processes that score; each was ended by {_name(death)} as it started")

    def _check_model(self, found: Model) -> None:
        if found != self.model:
            raise ScoringError(f"expected the model {' '.join(self.model)} still; got {' '.join(found)}")

    def _replace(self, number: int) -> None:
        self._workers[number].stop()
        self._workers[number] = self._start()

    def score(self, chunks: Iterable[Chunk]) -> Iterator[Scored]:
        """The rows of every chunk, in their order. Raises ScoringError if processes die over no image of theirs."""
        tasks = map(_Task, count(), self._pace.parts(chunks))
        upcoming = next(tasks, None)
        again: deque[_Task] = deque()
        finished: dict[int, Scored] = {}
        first = 0  # of those that are not finished
        while True:
            for worker in self._workers * 2:
                if again and not worker.tasks:
                    worker.give(again.popleft())
                elif upcoming and upcoming.number < first + AHEAD and worker.takes(upcoming):
                    worker.give(upcoming)
                    upcoming = next(tasks, None)
            # Only now, so that no process waits for what becomes of the rows.
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
                    self._mourn(worker)
                    continue
                task = worker.tasks.popleft()
                finished[task.number] = cast(Scored, answer)
                self._pace.adapt(len(task.chunk.names), time.monotonic() - worker.since)
                worker.since = time.monotonic()

    def _mourn(self, worker: _Worker) -> None:
        """Replaces a process that died over a task; over one image again and again, that image is done for."""
        task, place, death = worker.tasks[0], worker.place.value, worker.death()
        task.deaths[place] += 1
        if place != NO_IMAGE and task.deaths[place] == IMAGE_DEATHS:
            task.errors[place] = ImageError(f"expected an image that can be decoded; {self._how(death)}")
        elif task.deaths[place] == CHUNK_DEATHS:
            raise ScoringError(
                f"expected to score {task.chunk.names[0]} and the images after it; {self._how(death)} each time"
            )
        number = self._workers.index(worker)
        self._replace(number)
        self._check_model(self._loaded(number))

    def _how(self, death: int) -> str:
        if death == -OVERTIME:
            return f"it took longer than {self._image_seconds:g} s"
        return f"it ended the process by {_name(death)}"


def _name(death: int) -> str:
    return signal.Signals(-death).name if death < 0 else f"exit status {death}"
