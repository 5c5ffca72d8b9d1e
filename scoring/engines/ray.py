"""Scores with Ray Data, on this machine or a cluster: shards in, one Parquet file of rows per shard out."""

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
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from queue import Queue
from tempfile import NamedTemporaryFile, TemporaryDirectory, gettempdir
from threading import Thread
from typing import Any, Generic, Self, TypeVar, cast

# Read when Ray is imported. Otherwise a thread of Ray Data that outlives an interrupted run starts a Ray of its own.
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, from_items
from ray.exceptions import RayError, RayTaskError

import digits
import scoring
from digits.recognizer import Recognizer
from digits.session import ModelError
from digits.settings import ModelSettings
from digits.system import usable_cores
from digits.version import FINDER, VersionFiles
from scoring.engines.local import IMAGE_SECONDS, LocalEngine
from scoring.engines.worker import Images, identity, preprocess_only, score
from scoring.errors import ScoringError
from scoring.inputs.paths import check_paths, is_remote
from scoring.inputs.shards import Shard, find_shards, read_shard
from scoring.output_folder import Folder
from scoring.parquet import write_rows
from scoring.rows import Scored, read_csv
from scoring.run import Summary, counted

# How many shards are queued here, and as many in Ray; their names take 100 MB at most. For each wave of shards, Ray
# starts its actors again, which takes seconds.
WAVE = 1024
# The size of Ray's object store on this machine; its default is a third of the memory.
OBJECT_BYTES = 2**27
# The single column of the Ray dataset.
DATA = "data"
# How long a cluster may take to accept a connection.
CONNECT_SECONDS = 10
# What the nodes of a cluster need to find the object store; they have their own credentials.
_STORE_SETTINGS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")

Given = TypeVar("Given")
# A packed shard, the error that ended the search, or None at the end.
Found = dict[str, bytes] | Exception | None


@dataclass(frozen=True)
class Job:
    """What every actor needs. It carries the model's files if the actors may run on other machines."""

    settings: ModelSettings
    model: VersionFiles | None
    sha256: str
    paths: Sequence[str]
    directory: str
    image_seconds: float

    def begin(self) -> ModelSettings:
        """Changes to the run's directory, and stores the model. Raises ScoringError if a path is missing here."""
        with suppress(FileNotFoundError):
            os.chdir(self.directory)
        try:
            check_paths(self.paths)
        except ScoringError as error:
            raise ScoringError(f"node {ray.util.get_node_ip_address()}: {error}") from error
        return replace(self.settings, model=self._model_path())

    def _model_path(self) -> Path:
        """The classifier's file; one folder per model, since actors that Ray kills cannot remove theirs."""
        model = self.settings.model_path
        if self.model is None:
            return model
        folder = Path(gettempdir(), f"digits-{self.sha256}", model.parent.name)
        folder.mkdir(parents=True, exist_ok=True)
        for name, file in ((FINDER, self.model.finder), (model.name, self.model.classifier)):
            path = folder / name
            if not path.exists() or path.read_bytes() != file.data:
                with NamedTemporaryFile(dir=folder, delete=False) as partial:
                    partial.write(file.data)
                os.replace(partial.name, path)
        return folder / model.name


def packed(answer: object) -> dict[str, bytes]:
    """A row for Ray Data, compressed: names and preprocessed images shrink to a tenth."""
    return {DATA: zlib.compress(pickle.dumps(answer), 1)}


def unpacked(row: dict[str, bytes]) -> Any:  # noqa: ANN401 - any object can be packed
    """The object that was packed."""
    return pickle.loads(zlib.decompress(row[DATA]))


class Actor(Generic[Given]):
    """A stage of the Ray dataset. It passes on each ScoringError as a result, since Ray would turn it into text."""

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
    """Scores in a process of its own, so that an image that kills the process does not kill the actor."""

    def start(self, settings: ModelSettings, image_seconds: float) -> None:
        self._engine = LocalEngine(settings, 1, image_seconds).__enter__()

    def answer(self, given: Shard) -> Scored:
        return _file(self._engine.score(read_shard(given)))


class PreprocessingActor(Actor[Shard]):
    """Decodes and preprocesses, also in a process of its own, for a ClassifyingActor."""

    def start(self, settings: ModelSettings, image_seconds: float) -> None:
        self._engine = LocalEngine(settings, 1, image_seconds, preprocess_only).__enter__()

    def answer(self, given: Shard) -> list[object]:
        return list(self._engine.score(read_shard(given)))


class ClassifyingActor(Actor[list[tuple[list[str], Images]]]):
    """Classifies preprocessed images on a GPU."""

    def start(self, settings: ModelSettings, image_seconds: float) -> None:
        self._recognizer = Recognizer.from_settings(settings)
        self._model = identity(self._recognizer)

    def answer(self, given: list[tuple[list[str], Images]]) -> Scored:
        return _file(score(names, images, self._recognizer, self._model) for names, images in given)


def _file(parts: Iterable[Scored]) -> Scored:
    """Rows as a Parquet file."""
    texts: list[bytes] = []
    outcomes: Counter[str] = Counter()
    for part in parts:
        texts += part.texts
        outcomes += part.outcomes
    file = io.BytesIO()
    write_rows(file, read_csv(texts))
    return Scored([], [file.getvalue()], outcomes)


class RayEngine:
    """Ray Data actors: one per core, or one per GPU with the cores to preprocess for them."""

    def __init__(
        self,
        settings: ModelSettings,
        paths: Sequence[str],
        address: str | None = None,
        image_seconds: float = IMAGE_SECONDS,
    ) -> None:
        """Loads the model to identify it; Ray starts on entry. Raises ScoringError and SettingsError."""
        path = settings.model_path.absolute()
        try:
            files = VersionFiles.read(path)
            self.model = identity(Recognizer(files, "cpu"))
        except ModelError as error:
            raise ScoringError(str(error)) from error
        here = [one for one in paths if not is_remote(one)]
        settings = replace(settings, model=path)
        self._job = Job(
            settings, files if address is not None else None, self.model.sha256, here, os.getcwd(), image_seconds
        )
        self._address = address
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._check_address()
        # No usage statistics, and no messages but errors.
        os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_BACKEND_LOG_LEVEL="fatal")
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with _silenced():
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **self._where())
            self._stack.callback(ray.shutdown)
        except (OSError, ValueError, RuntimeError) as error:
            self._stack.close()
            [*_, reason] = str(error.__cause__ or error).strip().splitlines()
            raise ScoringError(f"{self._address or 'this machine'}: Ray cannot be started: {reason}") from error
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        context = DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        return self

    def _check_address(self) -> None:
        """Raises ScoringError if nothing listens there; Ray itself would try for a minute."""
        host, _, port = (self._address or "").rpartition(":")
        if host and port.isdecimal() and not is_remote(host):
            try:
                socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
            except OSError as error:
                raise ScoringError(f"{self._address}: no Ray cluster answers: {error.strerror or error}") from error

    def _where(self) -> dict[str, Any]:
        if self._address is not None:
            code = [str(Path(cast(str, module.__file__)).parent) for module in (digits, scoring)]
            variables = {name: os.environ[name] for name in _STORE_SETTINGS if name in os.environ}
            return {"address": self._address, "runtime_env": {"py_modules": code, "env_vars": variables}}
        folder = TemporaryDirectory(prefix="digits-", ignore_cleanup_errors=True)
        return {
            "address": "local",
            "num_cpus": usable_cores(),
            "include_dashboard": False,
            "object_store_memory": OBJECT_BYTES,
            "_temp_dir": self._stack.enter_context(folder),
        }

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def score(self, shards: Iterable[Shard]) -> Iterator[Scored]:
        """The rows of all shards as Parquet, in any order. The search for shards starts at once, also before entry.

        Raises ScoringError.
        """
        found: Queue[Found] = Queue(WAVE)
        Thread(target=_find, args=(shards, found), daemon=True).start()
        return self._score(found)

    def _score(self, found: Queue[Found]) -> Iterator[Scored]:
        for wave in _waves(found):
            cores, gpus = (int(ray.cluster_resources().get(kind, 0)) for kind in ("CPU", "GPU"))
            try:
                every = from_items(wave, override_num_blocks=len(wave))
                done = self._pipeline(every, min(cores, len(wave)), min(gpus, len(wave)))
                for table in done.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
                    for answer in map(unpacked, table.to_pylist()):
                        if isinstance(answer, ScoringError):
                            raise answer
                        yield cast(Scored, answer)
            except RayTaskError:  # a fault in the code, to be shown with its traceback
                raise
            except RayError as error:
                raise ScoringError(f"the Ray cluster failed: {type(error).__name__}: {error}") from error

    def _pipeline(self, shards: Dataset, cores: int, gpus: int) -> Dataset:
        on_gpu = self._job.settings.provider == "cuda"
        if not cores or (on_gpu and not gpus):
            expected = "cores and, for DIGITS_PROVIDER=cuda, GPUs" if on_gpu else "cores"
            raise ScoringError(f"expected a cluster with {expected}; got {cores} cores and {gpus} GPUs")
        arguments = {"fn_constructor_args": (self._job,)}
        on_cores = {"compute": ActorPoolStrategy(size=cores), "num_cpus": 1, **arguments}
        if not on_gpu:
            return shards.map(ScoringActor, **on_cores)
        on_gpus = {"compute": ActorPoolStrategy(size=gpus), "num_cpus": 0, "num_gpus": 1, **arguments}
        return shards.map(PreprocessingActor, **on_cores).map(ClassifyingActor, **on_gpus)


def _find(shards: Iterable[Shard], found: Queue[Found]) -> None:
    try:
        for shard in shards:
            found.put(packed(shard))
        found.put(None)
    except Exception as error:  # a foreign file system's too; raised again by the thread that scores
        found.put(error)


def _waves(found: Queue[Found]) -> Iterator[list[dict[str, bytes]]]:
    """Batches of the shards found so far; waits for no more than one shard per core."""
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
    """Discards standard error, where Ray's C++ code and processes print their log settings."""
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
                    folder.write(scored.texts[0])
        folder.finish()
        return True
