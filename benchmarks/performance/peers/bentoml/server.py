"""BentoML with two workers, its own decoding of images, and no log of requests."""

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
