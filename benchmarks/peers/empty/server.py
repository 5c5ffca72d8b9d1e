"""A Flask handler that reads the body and does nothing with it: the most that Flask can give here."""

from flask import Flask, Response, request

from service.metrics import Metrics

app = Flask(__name__)
app.extensions["metrics"] = Metrics(None)  # for the worker


@app.post("/predict")
def predict() -> Response:
    request.get_data(cache=False)
    return Response(b'{"digit": null}', mimetype="application/json")
