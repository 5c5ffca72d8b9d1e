"""Clients that keep a service busy and count failed requests."""

import http.client
import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from tests.helpers.images import example

CLIENTS = 8
# Longer than a virtual machine may pause.
PATIENCE_SECONDS = 120


@dataclass
class LoadResult:
    """How many requests were answered, and what came instead of the other responses."""

    answered: int
    failures: list[str]


class Load:
    """Clients on keep-alive connections that send the next request as soon as the last is answered."""

    def __init__(self, port: int) -> None:
        self._port, self._stopped = port, threading.Event()
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._clients: list[Future[LoadResult]] = [self._pool.submit(self._ask) for _ in range(CLIENTS)]

    def _ask(self) -> LoadResult:
        result, image = LoadResult(0, []), example(7)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
        while not self._stopped.is_set():
            try:
                if connection.sock is None:
                    connection.connect()
            except ConnectionRefusedError:  # the service has stopped, so no request is lost
                break
            try:
                connection.request("POST", "/predict", image)
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                result.failures.append(repr(error))
                connection.close()
                continue
            if (response.status, answer.get("digit")) == (200, 7):
                result.answered += 1
            else:
                result.failures.append(f"{response.status} {answer}")
        connection.close()
        return result

    def end(self) -> LoadResult:
        """Stops the clients and adds up their results."""
        self._stopped.set()
        results = [client.result(timeout=2 * PATIENCE_SECONDS) for client in self._clients]
        self._pool.shutdown()
        failures = [failure for one in results for failure in one.failures]
        return LoadResult(sum(one.answered for one in results), failures)
