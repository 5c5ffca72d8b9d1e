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
class Lost:
    """How many requests were answered, and what came instead of the other responses."""

    answered: int
    failures: list[str]


class Load:
    """Clients on keep-alive connections that send the next request as soon as the last is answered."""

    def __init__(self, port: int) -> None:
        self._port, self._stopped = port, threading.Event()
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._clients: list[Future[Lost]] = [self._pool.submit(self._ask) for _ in range(CLIENTS)]

    def _ask(self) -> Lost:
        lost, image = Lost(0, []), example(7)
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
                lost.failures.append(repr(error))
                connection.close()
                continue
            if (response.status, answer.get("digit")) == (200, 7):
                lost.answered += 1
            else:
                lost.failures.append(f"{response.status} {answer}")
        connection.close()
        return lost

    def end(self) -> Lost:
        """Stops the clients and adds up their results."""
        self._stopped.set()
        clients = [client.result(timeout=2 * PATIENCE_SECONDS) for client in self._clients]
        self._pool.shutdown()
        return Lost(sum(one.answered for one in clients), [failure for one in clients for failure in one.failures])
