"""Flask as in tutorials."""

import numpy as np
import onnxruntime
from flask import Flask, Response, jsonify, request
from PIL import Image

from benchmarks.performance.peers.plain import MODEL

app = Flask(__name__)
session = onnxruntime.InferenceSession(MODEL)


@app.route("/predict", methods=["POST"])
def predict() -> Response:
    image = Image.open(request.files["image"]).convert("L").resize((28, 28))
    pixels = np.array(image).reshape(1, 28, 28)
    probabilities = session.run(None, {"images": pixels})[0][0]
    return jsonify(digit=int(np.argmax(probabilities)), probabilities=probabilities.tolist())
