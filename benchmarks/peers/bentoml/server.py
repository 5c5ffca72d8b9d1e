"""BentoML with two workers."""

from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType

from benchmarks.peers.plain import Network


@bentoml.service(workers=2, logging={"access": {"enabled": False}})
class Digits:
    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api(route="/predict")
    def predict(self, image: Annotated[Path, ContentType("image/*")]) -> dict[str, Any]:
        return self.network.read(image.read_bytes())
