"""FastAPI tuned for speed: the raw body, the network in the event loop, orjson, no log.

With THREADS=1 the network runs in a thread pool instead.
"""

import os

import orjson
from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from benchmarks.performance.peers.plain import Network

app = FastAPI()
network = Network()
threads = "THREADS" in os.environ


@app.post("/predict")
async def predict(request: Request) -> Response:
    data = await request.body()
    answer = await run_in_threadpool(network.read, data) if threads else network.read(data)
    return Response(orjson.dumps(answer), media_type="application/json")
