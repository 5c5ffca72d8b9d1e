"""An MLServer runtime for image files in V2's JSON, or tensors."""

import json
from base64 import b64decode

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from benchmarks.performance.peers.plain import Network


class Digits(MLModel):
    async def load(self) -> bool:
        self.network = Network()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        [given] = payload.inputs
        if given.datatype == "BYTES":
            answer = self.network.read(b64decode(given.data[0]))
            outputs = [
                ResponseOutput(name="answer", shape=[1], datatype="BYTES", data=[json.dumps(answer)]),
            ]
        else:
            images = NumpyCodec.decode_input(given)
            [probabilities] = self.network.session.run(["probabilities"], {"images": images})
            outputs = [NumpyCodec.encode_output("probabilities", probabilities)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
