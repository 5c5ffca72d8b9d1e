"""Scores with Ray Data, on this machine or a cluster: shards in, one Parquet file of rows per shard out."""

import io
import logging
import os
import pickle
import signal
import socket
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory, gettempdir
from typing import Any, Self, cast

# Read when Ray is imported. Otherwise a thread of Ray Data that outlives an interrupted run starts a Ray of its own.
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"

import ray
from ray.data import ActorPoolStrategy, DataContext, from_items
from ray.exceptions import RayError, RayTaskError

import digits
import scoring
from digits.recognizer import Recognizer
from digits.session import ModelError
from digits.settings import ModelSettings
from digits.system import usable_cores
from digits.version import FINDER, VersionFiles
from scoring.engines.local import IMAGE_SECONDS, LocalEngine
from scoring.engines.worker import identity
from scoring.errors import ScoringError
from scoring.inputs.paths import check_paths, is_remote
from scoring.inputs.shards import PAGES_SHARD, SHARD, Shard, find_shards
from scoring.output_folder import Folder
from scoring.parquet import write_rows
from scoring.rows import IMAGES, PAGES, Layout, Scored
from scoring.run import Summary, counted

# How many shards are handed to Ray at a time. For each wave, Ray starts its actors again, which takes seconds.
WAVE = 1024
# The size of Ray's object store on this machine; its default is a third of the memory.
OBJECT_BYTES = 2**27
# The single column of the Ray dataset: pickled objects.
DATA = "data"
# How long a cluster may take to accept a connection.
CONNECT_SECONDS = 10
# What the nodes of a cluster need to find the object store; they have their own credentials.
_STORE_SETTINGS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")


@dataclass(frozen=True)
class ScoredShard(Scored):
    """A shard's rows as a Parquet file of that name."""

    name: str


@dataclass(frozen=True)
class Job:
    """What every actor needs. It carries the model's files if the actors may run on other machines."""

    settings: ModelSettings
    model: VersionFiles | None
    sha256: str
    paths: Sequence[str]
    directory: str
    processes: int
    image_seconds: float
    layout: Layout

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


class ScoringActor:
    """Scores in processes of its own, so that an image that kills a process does not kill the actor."""

    def __init__(self, job: Job) -> None:
        self._error: ScoringError | None = None
        try:
            self._engine = LocalEngine(job.begin(), job.processes, job.image_seconds, job.layout).__enter__()
        except (ScoringError, ModelError, OSError) as error:
            self._error = ScoringError(str(error))

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        """The file of a shard's rows; or a ScoringError as a result, since Ray would turn it into text."""
        try:
            if self._error:
                raise self._error
            return {DATA: pickle.dumps(self._score(pickle.loads(row[DATA])))}
        except ScoringError as error:
            return {DATA: pickle.dumps(error)}

    def _score(self, shard: Shard) -> ScoredShard:
        layout = self._engine.layout
        parts = list(self._engine.score(shard.read()))
        file = io.BytesIO()
        write_rows(file, layout.read(part.text for part in parts), layout)
        outcomes = sum((part.outcomes for part in parts), Counter())
        return ScoredShard(file.getvalue(), sum(part.images for part in parts), outcomes, shard.name)


class RayEngine:
    """Ray Data actors: one per core, or one per GPU with its share of the cores."""

    def __init__(
        self,
        settings: ModelSettings,
        paths: Sequence[str],
        address: str | None = None,
        image_seconds: float = IMAGE_SECONDS,
        layout: Layout = IMAGES,
    ) -> None:
        """Loads the model to identify it; Ray starts on entry. Raises ScoringError and SettingsError."""
        path = settings.model_path.absolute()
        try:
            files = VersionFiles.read(path)
            self.model = identity(Recognizer(files, "cpu"))
        except ModelError as error:
            raise ScoringError(str(error)) from error
        here = [one for one in paths if not is_remote(one)]
        sent = files if address is not None else None
        settings = replace(settings, model=path)
        self._job = Job(settings, sent, self.model.sha256, here, os.getcwd(), 1, image_seconds, layout)
        self.layout = layout
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

    def score(self, shards: Sequence[Shard]) -> Iterator[ScoredShard]:
        """A Parquet file of rows for each shard, named as the shard, in any order. Raises ScoringError."""
        try:
            every = from_items([{DATA: pickle.dumps(shard)} for shard in shards], override_num_blocks=len(shards))
            done = every.map(ScoringActor, **self._resources(len(shards)))
            for table in done.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
                for answer in map(pickle.loads, table.column(DATA).to_pylist()):
                    if isinstance(answer, ScoringError):
                        raise answer
                    yield cast(ScoredShard, answer)
        except RayTaskError:  # a fault in the code, to be shown with its traceback
            raise
        except RayError as error:
            raise ScoringError(f"the Ray cluster failed: {type(error).__name__}: {error}") from error

    def _resources(self, shards: int) -> dict[str, Any]:
        cores, gpus = (int(ray.cluster_resources().get(kind, 0)) for kind in ("CPU", "GPU"))
        on_gpu = self._job.settings.provider == "cuda"
        if not cores or (on_gpu and not gpus):
            expected = "cores and, for DIGITS_PROVIDER=cuda, GPUs" if on_gpu else "cores"
            raise ScoringError(f"expected a cluster with {expected}; got {cores} cores and {gpus} GPUs")
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
        processes = max(1, int(min(one.get("CPU", 0) // one["GPU"] for one in nodes))) if on_gpu else 1
        return {
            "fn_constructor_args": (replace(self._job, processes=processes),),
            "compute": ActorPoolStrategy(size=min(gpus if on_gpu else cores, shards)),
            "num_cpus": processes,
            "num_gpus": int(on_gpu),
        }


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


def score_to_folder(
    paths: Sequence[str], output: str, engine: RayEngine, summary: Summary, overwrite: bool, transposed: bool
) -> bool:
    """Scores the shards that have no file yet; False if an earlier run scored all of them. Raises ScoringError.

    However it ends, the next call resumes from the files that are written, unless they are to be overwritten.
    """
    with Folder(output) as folder:
        if overwrite:
            folder.delete(folder.names)
        else:
            folder.check(engine.layout)
            if folder.is_finished():
                return False
        summary.begin()
        planned: set[str] = set()

        def missing() -> Iterator[Shard]:
            for shard in find_shards(paths, transposed, summary.skip, PAGES_SHARD if engine.layout == PAGES else SHARD):
                planned.add(shard.name)
                if shard.name in folder.names:
                    summary.add_earlier(*folder.read(shard.name, engine.model, engine.layout))
                else:
                    yield shard

        shards = missing()
        waves = iter(lambda: list(islice(shards, WAVE)), [])
        first = next(waves, None)
        with engine if first else nullcontext():  # Ray takes seconds to start
            scores = chain.from_iterable(map(engine.score, chain([first], waves))) if first else iter(())
            for scored in counted(scores, paths, summary):
                if scored.images:
                    folder.write(scored.name, scored.text)
        folder.delete(folder.names - planned)  # of shards that held other images
        folder.finish()
        return True
