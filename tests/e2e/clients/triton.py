"""tritonclient.http, synchronous: every call that this service supports. Run in its own environment with the port."""

import sys
from pathlib import Path

import numpy as np
import tritonclient.http
from tritonclient.utils import InferenceServerException

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def image_input(binary: bool) -> tritonclient.http.InferInput:
    files = [(EXAMPLES / f"{digit}.png").read_bytes() for digit in range(10)]
    tensor = tritonclient.http.InferInput("image", [len(files)], "BYTES")
    if not binary:  # in JSON, this service takes base64
        import base64

        files = [base64.b64encode(one) for one in files]
    tensor.set_data_from_numpy(np.array(files, object), binary_data=binary)
    return tensor


client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{sys.argv[1]}")
assert client.is_server_live()
assert client.is_server_ready()
assert client.get_server_metadata()["name"] == "digits"
assert {one["name"] for one in client.get_model_repository_index()} == {"digits", "digits-image", "digits-page"}
version = client.get_model_metadata("digits")["versions"][-1]
assert client.is_model_ready("digits")
assert client.is_model_ready("digits", version)
assert not client.is_model_ready("digits", "99")
assert client.get_model_config("digits")["max_batch_size"] == 0

for binary in (True, False):
    for compression in (None, "gzip", "deflate"):
        answer = client.infer("digits-image", [image_input(binary)], request_compression_algorithm=compression)
        assert answer.as_numpy("digit").tolist() == list(range(10))
        assert set(answer.as_numpy("error").tolist()) == {b""}

images = np.zeros((3, 28, 28), np.uint8)
tensor = tritonclient.http.InferInput("images", images.shape, "UINT8")
for binary in (True, False):
    tensor.set_data_from_numpy(images, binary_data=binary)
    for output_binary in (True, False):
        asked = [
            tritonclient.http.InferRequestedOutput("probabilities", binary_data=output_binary),
            tritonclient.http.InferRequestedOutput("is_digit", binary_data=not output_binary),
        ]
        answer = client.infer("digits", [tensor], model_version=version, outputs=asked, request_id="a", priority=1)
        assert answer.as_numpy("probabilities").shape == (3, 10)
        assert answer.as_numpy("is_digit").shape == (3,)
        assert answer.get_response()["id"] == "a"
        assert answer.get_response()["model_version"] == version
best = tritonclient.http.InferRequestedOutput("probabilities", class_count=2)
assert client.infer("digits", [tensor], outputs=[best]).as_numpy("probabilities").shape == (3, 2)

for name, expected in [("digits", "expected one input, `images`; got 'image'"), ("mnist", "expected a model that is")]:
    try:
        client.infer(name, [image_input(True)])
    except InferenceServerException as error:
        assert expected in error.message(), error
    else:
        raise AssertionError(f"{name}: no error")
