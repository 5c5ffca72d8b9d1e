"""Metrics for Prometheus, summed over the worker processes.

prometheus-client keeps files per process ID, so their number grows with every restarted worker. Here gunicorn's master
gives each worker a slot, and a new worker continues the files of its slot.
"""

import os
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, generate_latest, values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from digits.tracing import Trace

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16)
_DIGITS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)


class Histogram(prometheus_client.Histogram):
    """A histogram that counts many observations at once."""

    def observe_all(self, amounts: Sequence[float]) -> None:
        self._sum.inc(sum(amounts))
        for bucket, count in Counter(bisect_left(self._upper_bounds, amount) for amount in amounts).items():
            self._buckets[bucket].inc(count)


class Metrics:
    """The metrics of this process; their text covers all processes that share a directory."""

    def __init__(self, directory: Path | None = None, slot: int = 0) -> None:
        """Continues a slot of the workers' shared directory; without one, this process counts on its own."""
        self._directory = directory
        values.ValueClass = values.MutexValue
        if directory:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)  # where prometheus-client looks for it
            values.ValueClass = values.MultiProcessValue(lambda: slot)
        registry = self._registry = CollectorRegistry()
        counter = partial(prometheus_client.Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self._requests = counter("digits_requests", "Answered requests", ["route", "status"])
        self._request_seconds = histogram(
            "digits_request_seconds", "Time from a request's headers to its response", ["route"], buckets=_SECONDS
        )
        self._stage_seconds = histogram(
            "digits_stage_seconds",
            "Time by stage: queue, decode, finder, prepare, inference",
            ["stage"],
            buckets=_SECONDS,
        )
        self._batch_size = histogram("digits_batch_size", "Images per run of the network", buckets=_SIZES)
        self._page_digits = histogram("digits_page_digits", "Digits on a page that was read", buckets=_DIGITS)
        self._images = counter(
            "digits_images", "Images by outcome: digit, rejection reason, page, or broken image", ["outcome"]
        )
        self._rejections = counter(
            "digits_rejections", "Requests rejected with 503 by cause: queue, bodies, deadline", ["cause"]
        )
        self.images_in_flight = Gauge(
            "digits_images_in_flight", "Images being processed", registry=registry, multiprocess_mode="livesum"
        )
        labels = ["version", "default", "provider"]
        self._model = Gauge(
            "digits_model_info", "1 for every served version", labels, registry=registry, multiprocess_mode="livemax"
        )

    def model(self, version: str, default: bool, provider: str) -> None:
        """Adds a served version of the model."""
        self._model.labels(version, str(default).lower(), provider).set(1)

    def count(self, answered: Iterable[tuple[str, int, float, Trace]]) -> None:
        """Counts answered requests, each by route, status, seconds and trace.

        Many at once take a fifth of the time per request.
        """
        # By metric and labels.
        counts: Counter[tuple[Any, ...]] = Counter()
        amounts = defaultdict[tuple[Any, ...], list[float]](list)
        for route, status, seconds, trace in answered:
            counts[self._requests, route, status] += 1
            amounts[self._request_seconds, route].append(seconds)
            for stage, time in trace.seconds.items():
                amounts[self._stage_seconds, stage].append(time)
            if trace.batch_sizes:
                amounts[(self._batch_size,)] += trace.batch_sizes
            if trace.page_digits:
                amounts[(self._page_digits,)] += trace.page_digits
            for outcome, count in trace.outcomes.items():
                counts[self._images, outcome] += count
            if trace.rejection:
                counts[self._rejections, trace.rejection] += 1
        for (counter, *labels), count in counts.items():
            counter.labels(*labels).inc(count)
        for (histogram, *labels), observed in amounts.items():
            (histogram.labels(*labels) if labels else histogram).observe_all(observed)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(_Slots(self._directory) if self._directory else self._registry)


def end_slot(directory: Path, slot: int) -> None:
    """Call when the worker with this slot has ended: its counts stay, its gauges do not."""
    mark_process_dead(slot, directory)


class _Slots(Collector):
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        """The sum of all slots."""
        files = []
        for file in self._directory.glob("*.db"):
            # A file is empty until its first use, and goes when its slot ends.
            with suppress(FileNotFoundError):
                if file.stat().st_size:
                    files.append(str(file))
        metrics: Iterable[Metric] = MultiProcessCollector.merge(files)
        return metrics
