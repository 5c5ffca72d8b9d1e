"""LitServe with two workers behind two HTTP processes, on PORT."""

import os
from typing import Any

import litserve
from fastapi import Request

from benchmarks.performance.peers.plain import Network


class Digits(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.network = Network()

    def decode_request(self, request: Request) -> bytes:
        image: bytes = request["image"].file.read()
        return image

    def predict(self, image: bytes) -> dict[str, Any]:
        return self.network.read(image)


if __name__ == "__main__":
    litserve.LitServer(Digits(), accelerator="cpu", workers_per_device=2).run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=2,
        log_level="warning",
        generate_client_file=False,
    )
