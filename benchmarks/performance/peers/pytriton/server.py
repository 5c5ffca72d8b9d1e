"""PyTriton with two instances that batch what waits; image files as raw tensors of V2."""

import json
import os

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.performance.peers.plain import Network


class Digits:
    def __init__(self) -> None:
        self.network = Network()

    @batch
    def infer(self, image: NDArray[np.object_]) -> dict[str, NDArray[np.object_]]:
        answers = [json.dumps(self.network.read(file)).encode() for [file] in image]
        return {"answer": np.array(answers, object).reshape(-1, 1)}


if __name__ == "__main__":
    port = int(os.environ["PORT"])
    settings = TritonConfig(http_address="127.0.0.1", http_port=port, allow_grpc=False, allow_metrics=False)
    with Triton(config=settings) as triton:
        triton.bind(
            "digits",
            [Digits().infer, Digits().infer],
            [Tensor(name="image", dtype=bytes, shape=(1,))],
            [Tensor(name="answer", dtype=bytes, shape=(1,))],
            config=ModelConfig(max_batch_size=16, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
        )
        triton.serve()
