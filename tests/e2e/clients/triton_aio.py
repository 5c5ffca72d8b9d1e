"""tritonclient.http.aio, concurrent requests. Run in its own environment with the port."""

import asyncio
import sys

import numpy as np
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException


async def main() -> None:
    async with tritonclient.http.aio.InferenceServerClient(f"127.0.0.1:{sys.argv[1]}") as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert (await client.get_model_metadata("digits"))["platform"] == "onnx_onnxv1"
        images = np.zeros((2, 28, 28), np.uint8)
        for binary in (True, False):
            tensor = tritonclient.http.aio.InferInput("images", images.shape, "UINT8")
            tensor.set_data_from_numpy(images, binary_data=binary)
            answers = await asyncio.gather(*(client.infer("digits", [tensor]) for _ in range(20)))
            assert all(one.as_numpy("probabilities").shape == (2, 10) for one in answers)
        try:
            await client.infer("mnist", [tensor])
        except InferenceServerException as error:
            assert "expected a model that is served" in error.message(), error
        else:
            raise AssertionError("no error")


asyncio.run(main())
