"""KServe's InferenceRESTClient. Run in its own environment with the port."""

import asyncio
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def main() -> None:
    url = f"http://127.0.0.1:{sys.argv[1]}"
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=1))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, "digits")
    images = np.zeros((2, 28, 28), np.uint8)
    for binary in (True, False):
        tensor = InferInput("images", list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images, binary_data=binary)
        answer = await client.infer(url, InferRequest("digits", [tensor]), model_name="digits")
        assert answer.model_name == "digits"
        assert answer.outputs[0].as_numpy().shape == (2, 10)
    try:
        await client.infer(url, InferRequest("mnist", [tensor]), model_name="mnist")
    except httpx.HTTPStatusError as error:
        assert "expected a model that is served" in str(error), error
    else:
        raise AssertionError("no error")


asyncio.run(main())
