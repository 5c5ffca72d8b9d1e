"""What the container runs: `serve`, `score PATH... --output FILE`, or `health` for its HEALTHCHECK."""

import os
import socket
import sys

COMMANDS = {"serve": ["gunicorn"], "score": ["scoring"]}


def main(command: str, *arguments: str) -> None:
    if command == "health":
        check_health(int(os.environ.get("PORT") or 8000))
    elif command in COMMANDS:
        os.execv(sys.executable, [sys.executable, "-m", *COMMANDS[command], *arguments])  # noqa: S606
    else:
        sys.exit(f"error: expected serve or score; got {command!r}")


def check_health(port: int) -> None:
    """Exits with 1 unless the service says within 3 seconds that it is ready.

    By hand, since it is done all the time within the container's share of memory and processor: an HTTP library would
    double what it takes, and might ask a proxy that the environment names.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
            connection.sendall(b"GET /health/ready HTTP/1.0\r\n\r\n")
            status = connection.recv(1024).partition(b"\r\n")[0].decode()
    except OSError as error:
        sys.exit(f"error: expected an answer from port {port}; got: {error}")
    if " 200 " not in status:
        sys.exit(f"error: expected to be ready; got: {status}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["serve"]))
