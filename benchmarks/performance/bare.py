"""A network alone, without a server.

`python -m benchmarks.performance.bare MODEL BATCH SECONDS` runs an ONNX file repeatedly.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.performance.drivers import Load
from benchmarks.performance.peers.plain import Network
from training.datasets.mnist import load_test

BATCHES = (1, 4, 16, 32, 64, 128, 256)


def run(model: Path, batch: int, seconds: int, processes: int = 1) -> tuple[Load, float]:
    """The load, where a request is a run, that concurrent processes achieve together, and the CPU seconds per run."""
    command = [sys.executable, "-m", "benchmarks.performance.bare", str(model), str(batch), str(seconds)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(processes)]  # noqa: S603 - this module
    wall, cpu = np.concatenate([json.loads(one.communicate()[0]) for one in running], axis=1)
    p50, p99 = np.percentile(wall, [50, 99])
    return Load(len(wall), 0, float(wall.sum()) / processes, p50, p99), float(cpu.mean())


def best_batch(model: Path, seconds: int, batches: Sequence[int] = BATCHES) -> int:
    """The batch size with which one process reads the most images per second."""
    return max(batches, key=lambda batch: batch * run(model, batch, seconds)[0].rate)


def main(model: Path, batch: int, seconds: float) -> None:
    """Prints the wall-clock seconds and the CPU seconds of every run as JSON."""
    network, images = Network(model), load_test().images[: 16 * max(BATCHES)]
    clocks = [(time.perf_counter(), time.process_time())]
    while clocks[-1][0] < clocks[0][0] + seconds:
        start = len(clocks) * batch % (len(images) - batch)
        network.session.run(["probabilities"], {"images": images[start : start + batch]})
        clocks.append((time.perf_counter(), time.process_time()))
    print(json.dumps(np.diff(np.array(clocks), axis=0).T.tolist()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
