"""Tesseract as Debian installs it, with only digits allowed, on a page as one block of text."""

import subprocess

from benchmarks.performance.peers.reading import serve

# Of 3, 4, 6 and 11, modes 6 and 11 read most digits of 16 other pages, and 6 most lines.
OPTIONS = ["--psm", "6", "-c", "tessedit_char_whitelist=0123456789"]


def read(path: str) -> list[str]:
    command = ["tesseract", path, "-", *OPTIONS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own command
    return done.stdout.splitlines()


serve(read)
