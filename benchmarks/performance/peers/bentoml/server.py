"""BentoML with two workers, its own image decoding, and no request log."""

from typing import Any

import bentoml
from PIL.Image import Image

from benchmarks.performance.peers.plain import Network


@bentoml.service(workers=2, logging={"access": {"enabled": False}})
class Digits:
    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api(route="/predict")
    async def predict(self, image: Image) -> dict[str, Any]:
        return self.network.classify(image)
