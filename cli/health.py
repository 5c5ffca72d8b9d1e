"""What `digits health` checks."""

import os
import socket
import sys


def check_health() -> None:
    """Exits with 1 unless the service is ready within 3 seconds.

    Without an HTTP library, which would double the cost of a check that runs every few seconds, and might contact a
    proxy named by the environment.
    """
    port, prefix = os.environ.get("PORT") or "8000", os.environ.get("SCRIPT_NAME", "")
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
            connection.sendall(f"GET {prefix}/health/ready HTTP/1.0\r\n\r\n".encode())
            status = connection.recv(1024).partition(b"\r\n")[0].decode()
    except OSError as error:
        sys.exit(f"error: no answer from port {port}: {error}")
    if " 200 " not in status:
        sys.exit(f"error: the service is not ready: {status}")
