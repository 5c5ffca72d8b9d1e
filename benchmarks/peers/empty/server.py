"""A Flask handler that reads the body and does nothing with it: the most that Flask can give here."""

from flask import Flask, Response, request

app = Flask(__name__)


@app.post("/predict")
def predict() -> Response:
    request.get_data(cache=False)
    return Response(b'{"digit": null}', mimetype="application/json")
