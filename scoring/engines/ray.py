"""Scores on a cluster, or on this machine, by Ray Data: shards in, a Parquet file of rows a shard out."""

import io
import logging
import os
import pickle
import signal
import socket
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from queue import Queue
from tempfile import NamedTemporaryFile, TemporaryDirectory, gettempdir
from threading import Thread
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, from_items
from ray.exceptions import RayError, RayTaskError

import digits
import scoring
from digits.classifier import Classifier, ModelError
from digits.recognizer import Recognizer
from digits.settings import ModelSettings
from digits.system import usable_cores
from scoring.engines.local import IMAGE_SECONDS, LocalEngine
from scoring.engines.worker import Images, score, work_ahead
from scoring.errors import ScoringError
from scoring.inputs.paths import check_paths, is_remote
from scoring.inputs.shards import Shard, find_shards, read_shard
from scoring.output_folder import Folder
from scoring.parquet import write_rows
from scoring.rows import Model, Scored, read_csv
from scoring.run import Summary, counted

# Shards that are known at a time, here and in Ray each; their names take 100 MB at most. Each time that Ray is given
# some, its actors start anew, which takes seconds.
WAVE = 1024
# What Ray keeps of shards and rows on this machine at a time; it asks for a third of the memory by itself.
OBJECT_BYTES = 2**27
# The one column of what goes through Ray Data.
DATA = "data"
# How long a cluster may take to answer at all.
REACHED_SECONDS = 10
# What the nodes of a cluster need to know of where the object store is; who one is there, they know themselves.
_STORE_SETTINGS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")

Given = TypeVar("Given")
# A shard, packed; why no more are found; or that these are all.
Found = dict[str, bytes] | Exception | None


@dataclass(frozen=True)
class Job:
    """What every actor needs, wherever it runs; the model's file goes with it where it may not be there."""

    settings: ModelSettings
    model: bytes | None
    sha256: str
    paths: Sequence[str]
    directory: str
    image_seconds: float

    def begin(self) -> ModelSettings:
        """Goes where the run was started, and lays the model down. Raises ScoringError for paths not there."""
        with suppress(FileNotFoundError):
            os.chdir(self.directory)
        try:
            check_paths(self.paths)
        except ScoringError as error:
            raise ScoringError(f"node {ray.util.get_node_ip_address()}: {error}") from error
        return replace(self.settings, model=self._model_path())

    def _model_path(self) -> Path:
        """Where it lies; what Ray ends cannot clear up, so that there is one such folder a model."""
        path = self.settings.model_path
        if self.model is None:
            return path
        path = Path(gettempdir(), f"digits-{self.sha256}", path.parent.name, path.name)
        if not path.exists() or path.read_bytes() != self.model:
            path.parent.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(self.model)
            os.replace(file.name, path)
        return path


def packed(answer: object) -> dict[str, bytes]:
    """A row for Ray Data; names and prepared images take a tenth of the bytes then."""
    return {DATA: zlib.compress(pickle.dumps(answer), 1)}


def unpacked(row: dict[str, bytes]) -> Any:  # noqa: ANN401 - whatever was packed
    """What was packed."""
    return pickle.loads(zlib.decompress(row[DATA]))


class Actor(Generic[Given]):
    """Answers what comes before it in Ray Data, pickled; a ScoringError too, which Ray would only pass on as text."""

    def __init__(self, job: Job) -> None:
        self._error: ScoringError | None = None
        try:
            self.start(job.begin(), job.image_seconds)
        except (ScoringError, ModelError, OSError) as error:
            self._error = ScoringError(str(error))

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        given = self._error or unpacked(row)
        try:
            return packed(given if isinstance(given, ScoringError) else self.answer(given))
        except ScoringError as error:
            return packed(error)

    def start(self, settings: ModelSettings, image_seconds: float) -> None:
        """Raises ScoringError, ModelError and OSError."""
        raise NotImplementedError

    def answer(self, given: Given) -> object:
        """Raises ScoringError."""
        raise NotImplementedError


class ScoringActor(Actor[Shard]):
    """One ONNX Runtime session, in a process of its own, which an image may take down with it."""

    def start(self, settings: ModelSettings, image_seconds: float) -> None:
        self._engine = LocalEngine(settings, 1, image_seconds).__enter__()

    def answer(self, given: Shard) -> Scored:
        return _file(self._engine.score(read_shard(given)))


class PreparingActor(Actor[Shard]):
    """Decodes and prepares, in such a process too, what a GPU then has its turn with."""

    def start(self, settings: ModelSettings, image_seconds: float) -> None:
        self._engine = LocalEngine(settings, 1, image_seconds, work_ahead).__enter__()

    def answer(self, given: Shard) -> list[object]:
        return list(self._engine.score(read_shard(given)))


class ClassifyingActor(Actor[list[tuple[list[str], Images]]]):
    """One ONNX Runtime session for what is prepared, on a GPU."""

    def start(self, settings: ModelSettings, image_seconds: float) -> None:
        self._recognizer = Recognizer.from_settings(settings)
        self._model = Model(**self._recognizer.model, sha256=self._recognizer.classifier.sha256)

    def answer(self, given: list[tuple[list[str], Images]]) -> Scored:
        return _file(score(names, images, self._recognizer, self._model) for names, images in given)


def _file(parts: Iterable[Scored]) -> Scored:
    """Rows as a Parquet file."""
    text = io.BytesIO()
    outcomes: Counter[str] = Counter()
    for part in parts:
        text.write(part.text)
        outcomes += part.outcomes
    text.seek(0)
    file = io.BytesIO()
    write_rows(file, (row for _, row in read_csv(text)))
    return Scored(file.getvalue(), outcomes)


class RayEngine:
    """Actors of Ray Data that score: one a core, or one a GPU and the cores for what comes before it."""

    def __init__(
        self,
        settings: ModelSettings,
        paths: Sequence[str],
        address: str | None = None,
        image_seconds: float = IMAGE_SECONDS,
    ) -> None:
        """Loads the model to know it; Ray starts when entered. Raises ScoringError and SettingsError."""
        path = settings.model_path.absolute()
        try:
            classifier = Classifier(path, "cpu")
        except ModelError as error:
            raise ScoringError(str(error)) from error
        self.model = Model(**classifier.model, sha256=classifier.sha256)
        here = [one for one in paths if not is_remote(one)]
        settings, file = replace(settings, model=path), path.read_bytes() if address is not None else None
        self._job = Job(settings, file, self.model.sha256, here, os.getcwd(), image_seconds)
        self._address = address
        self._folder: TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        self._reach()
        # Nothing is sent to anyone, and nothing said but errors.
        os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_BACKEND_LOG_LEVEL="fatal")
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with _silenced():
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **self._where())
        except (OSError, ValueError, RuntimeError) as error:
            self._leave()
            [*_, reason] = str(error.__cause__ or error).strip().splitlines()
            raise ScoringError(f"{self._address or 'this machine'}: expected a Ray cluster; got: {reason}") from error
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        context = DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        return self

    def _reach(self) -> None:
        """Ray itself would try for a minute."""
        host, _, port = (self._address or "").rpartition(":")
        if host and port.isdecimal() and not is_remote(host):
            try:
                socket.create_connection((host, int(port)), REACHED_SECONDS).close()
            except OSError as error:
                got = error.strerror or error
                raise ScoringError(f"{self._address}: expected a Ray cluster; nobody answers there: {got}") from error

    def _where(self) -> dict[str, Any]:
        if self._address is not None:
            code = [str(Path(cast(str, module.__file__)).parent) for module in (digits, scoring)]
            variables = {name: os.environ[name] for name in _STORE_SETTINGS if name in os.environ}
            return {"address": self._address, "runtime_env": {"py_modules": code, "env_vars": variables}}
        self._folder = TemporaryDirectory(prefix="digits-", ignore_cleanup_errors=True)
        return {
            "address": "local",
            "num_cpus": usable_cores(),
            "include_dashboard": False,
            "object_store_memory": OBJECT_BYTES,
            "_temp_dir": self._folder.name,
        }

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ray.shutdown()
        self._leave()

    def _leave(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def score(self, shards: Iterable[Shard]) -> Iterator[Scored]:
        """The rows of every shard as Parquet, as they are done; shards are looked for from now on, entered or not.

        Raises ScoringError.
        """
        found: Queue[Found] = Queue(WAVE)
        Thread(target=_find, args=(shards, found), daemon=True).start()
        return self._score(found)

    def _score(self, found: Queue[Found]) -> Iterator[Scored]:
        for wave in _waves(found):
            cores, gpus = (int(ray.cluster_resources().get(kind, 0)) for kind in ("CPU", "GPU"))
            with _explained():
                every = from_items(wave, override_num_blocks=len(wave))
                done = self._pipeline(every, min(cores, len(wave)), min(gpus, len(wave)))
                for table in done.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
                    for answer in map(unpacked, table.to_pylist()):
                        if isinstance(answer, ScoringError):
                            raise answer
                        yield cast(Scored, answer)

    def _pipeline(self, shards: Dataset, cores: int, gpus: int) -> Dataset:
        on_gpu = self._job.settings.provider == "cuda"
        if not cores or (on_gpu and not gpus):
            expected = "cores and, for DIGITS_PROVIDER=cuda, GPUs" if on_gpu else "cores"
            raise ScoringError(f"expected a cluster that has {expected}; got {cores} and {gpus}")
        arguments = {"fn_constructor_args": (self._job,)}
        on_cores = {"compute": ActorPoolStrategy(size=cores), "num_cpus": 1, **arguments}
        if not on_gpu:
            return shards.map(ScoringActor, **on_cores)
        on_gpus = {"compute": ActorPoolStrategy(size=gpus), "num_cpus": 0, "num_gpus": 1, **arguments}
        return shards.map(PreparingActor, **on_cores).map(ClassifyingActor, **on_gpus)


def _find(shards: Iterable[Shard], found: Queue[Found]) -> None:
    try:
        for shard in shards:
            found.put(packed(shard))
        found.put(None)
    except Exception as error:
        found.put(error)


def _waves(found: Queue[Found]) -> Iterator[list[dict[str, bytes]]]:
    """What has been found meanwhile, and waits for no more than one for each core."""
    one: Found = {}
    while one is not None:
        wave: list[dict[str, bytes]] = []
        cores = max(1, int(ray.cluster_resources().get("CPU", 0)))
        while len(wave) < WAVE and not (len(wave) >= cores and found.empty()):
            one = found.get()
            if isinstance(one, Exception):
                raise one
            if one is None:
                break
            wave.append(one)
        if wave:
            yield wave


@contextmanager
def _silenced() -> Iterator[None]:
    """Ray's processes and its part in C++ say on standard error how loud they are set."""
    sys.stderr.flush()
    saved = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except RayTaskError:
        raise
    except RayError as error:
        raise ScoringError(f"expected a Ray cluster that goes on; {type(error).__name__}: {error}") from error


def score_to_folder(paths: Sequence[str], output: str, engine: RayEngine, summary: Summary, overwrite: bool) -> bool:
    """Scores the images that have no row yet; False if an earlier run scored all of them. Raises ScoringError.

    However it ends, the next call resumes from the files that are written, unless they are to be overwritten.
    """
    with Folder(output) as folder:
        if overwrite:
            folder.clear()
        elif folder.is_finished():
            return False
        completed = folder.read(engine.model)
        summary.begin(completed.outcomes)
        shards = find_shards(paths, completed)
        first = next(shards, None)
        scores = engine.score(chain([first], shards)) if first else iter(())
        with engine if first else nullcontext():  # Ray takes seconds to start
            for scored in counted(scores, paths, summary):
                if scored.outcomes:
                    folder.write(scored.text)
        folder.finish()
        return True
