"""Metrics for Prometheus, right across worker processes: what one wrote, the next goes on with.

prometheus-client gives every process files of its own, named by its number; with workers that come and go, these files
grow in number for ever. Here gunicorn's master gives each worker a slot, and a worker continues the files of its slot.
"""

import os
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, generate_latest, values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from digits.tracing import Trace

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16)


class Histogram(prometheus_client.Histogram):
    """Counts many observations at once."""

    def observe_all(self, amounts: Sequence[float]) -> None:
        self._sum.inc(sum(amounts))
        for bucket, count in Counter(bisect_left(self._upper_bounds, amount) for amount in amounts).items():
            self._buckets[bucket].inc(count)


class Metrics:
    """The metrics of this process, and their text across all processes that share a folder."""

    def __init__(self, directory: Path | None = None, slot: int = 0) -> None:
        """Continues a slot in the folder that the workers share; without one, this process counts alone."""
        self._directory = directory
        values.ValueClass = values.MutexValue
        if directory:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)  # there prometheus-client looks for it
            values.ValueClass = values.MultiProcessValue(lambda: slot)
        self._registry = CollectorRegistry()
        self._requests = prometheus_client.Counter(
            "digits_requests", "Requests answered", ["route", "status"], registry=self._registry
        )
        self._request_seconds = Histogram(
            "digits_request_seconds",
            "Time from a request's head to its answer",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._stage_seconds = Histogram(
            "digits_stage_seconds",
            "Time of a request's stages: queue, decode, prepare, inference",
            ["stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batch_size = Histogram(
            "digits_batch_size", "Images a run of the network", buckets=_SIZES, registry=self._registry
        )
        self._images = prometheus_client.Counter(
            "digits_images",
            "Images by outcome: digit, the reason of a refusal, or broken image",
            ["outcome"],
            registry=self._registry,
        )
        self._rejections = prometheus_client.Counter(
            "digits_rejections",
            "Requests answered with 503 by what was full or over: queue, bodies, deadline",
            ["cause"],
            registry=self._registry,
        )
        self.images_in_flight = Gauge(
            "digits_images_in_flight",
            "Images taken on and not yet answered",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self._model = Gauge(
            "digits_model_info",
            "1 for every version of the model that is served",
            ["version", "default", "provider"],
            multiprocess_mode="livemax",
            registry=self._registry,
        )

    def model(self, version: str, default: bool, provider: str) -> None:
        """A version of the model is served."""
        self._model.labels(version, str(default).lower(), provider).set(1)

    def count(self, answered: Iterable[tuple[str, int, float, Trace]]) -> None:
        """Requests were answered: the route, the status, the seconds and the record of each.

        Many together take a fifth of the time that each would take by itself.
        """
        requests: Counter[tuple[str, int]] = Counter()
        outcomes: Counter[str] = Counter()
        rejections: Counter[str] = Counter()
        request_seconds, stage_seconds = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
        batch_sizes: list[int] = []
        for route, status, seconds, record in answered:
            requests[route, status] += 1
            request_seconds[route].append(seconds)
            for name, time in record.seconds.items():
                stage_seconds[name].append(time)
            batch_sizes += record.batch_sizes
            outcomes.update(record.outcomes)
            if record.rejection:
                rejections[record.rejection] += 1
        for labels, count in requests.items():
            self._requests.labels(*labels).inc(count)
        for route, times in request_seconds.items():
            self._request_seconds.labels(route).observe_all(times)
        for name, times in stage_seconds.items():
            self._stage_seconds.labels(name).observe_all(times)
        if batch_sizes:
            self._batch_size.observe_all(batch_sizes)
        for outcome, count in outcomes.items():
            self._images.labels(outcome).inc(count)
        for cause, count in rejections.items():
            self._rejections.labels(cause).inc(count)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        if self._directory is None:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        registry.register(_Slots(self._directory))
        return generate_latest(registry)


def end_slot(directory: Path, slot: int) -> None:
    """The worker with this slot is no more: what it counted stays, what was going on in it does not."""
    mark_process_dead(slot, directory)


class _Slots(Collector):
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        """The sum of all slots."""
        metrics: Iterable[Metric] = MultiProcessCollector.merge(str(file) for file in self._files())
        return metrics

    def _files(self) -> Iterator[Path]:
        """Those that have something in them, as none has for the moment between its making and its first use."""
        for file in self._directory.glob("*.db"):
            with suppress(FileNotFoundError):  # a slot has just ended
                if file.stat().st_size:
                    yield file
