"""What the container runs: `serve`, `score PATH... --output FILE`, or `health` for its HEALTHCHECK."""

import os
import sys
import urllib.request

COMMANDS = {"serve": ["gunicorn"], "score": ["scoring"]}


def main(command: str, *arguments: str) -> None:
    if command == "health":
        # Raises, and so exits with 1, on anything but an answer of 200.
        urllib.request.urlopen(f"http://127.0.0.1:{os.environ['PORT']}/health/ready", timeout=3)
    elif command in COMMANDS:
        os.execv(sys.executable, [sys.executable, "-m", *COMMANDS[command], *arguments])  # noqa: S606
    else:
        sys.exit(f"error: expected serve or score; got {command!r}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["serve"]))
