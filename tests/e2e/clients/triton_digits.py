"""Sends the images of one file to every version of `digits` with tritonclient and writes the outputs to another.

Run in its own environment with the port and both files.
"""

import sys

import numpy as np
import tritonclient.http

port, asked, answered = sys.argv[1:]
images = np.load(asked)
client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{port}")
tensor = tritonclient.http.InferInput("images", images.shape, "UINT8")
answers = {}
for version in client.get_model_metadata("digits")["versions"]:
    for binary in (True, False):
        tensor.set_data_from_numpy(images, binary_data=binary)
        outputs = [
            tritonclient.http.InferRequestedOutput(name, binary_data=binary) for name in ("probabilities", "is_digit")
        ]
        answer = client.infer("digits", [tensor], model_version=version, outputs=outputs)
        for name in ("probabilities", "is_digit"):
            answers[f"{version} {name} {binary}"] = answer.as_numpy(name)
np.savez(answered, **answers)
