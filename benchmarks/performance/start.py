"""Time from start to the first response, and import times: `python -m benchmarks.performance.start`.

Builds the container and runs it with the host's network; skips it if there is no Docker engine.
"""

import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import click

from benchmarks.performance.conditions import conditions
from benchmarks.performance.servers import HOST, ROOT
from benchmarks.tables import table

IMAGE, CONTAINER = "digits-start", "digits-start"
EXAMPLE = ROOT / "examples" / "7.png"
TIMEOUT_SECONDS = 60
POLL_SECONDS = 0.005
# Faster imports are not listed.
LEAST_SECONDS = 0.005
STANDARD = {name.lstrip("_") for name in sys.stdlib_module_names} | {"site"}


@click.command()
@click.option("--times", default=10, show_default=True, help="Number of starts.")
@click.option("--port", default=8098, show_default=True, help="Port of the service.")
def main(times: int, port: int) -> None:
    """Print the time from exec to the first correct response, and the import time of each package."""
    begun = conditions("python -m benchmarks.performance.start")
    found = {"`gunicorn`": [timed(gunicorn, port) for _ in range(times)]}
    if docker("info"):
        flags = os.environ.get("DOCKER_BUILD_FLAGS", "").split()
        if not docker("build", *flags, "--tag", IMAGE, str(ROOT)):
            raise click.ClickException("docker build failed")
        found["`docker run`"] = [timed(container, port) for _ in range(times)]
    else:
        click.echo("skipped docker run: no Docker engine", err=True)
    rows = [
        (name, *(f"{one:.2f}" for one in (statistics.median(seconds), min(seconds), max(seconds))), len(seconds))
        for name, seconds in found.items()
    ]
    click.echo("\n".join(f"- {line}" for line in begun) + "\n")
    click.echo(table(["from exec to the first correct response", "s, median", "minimum", "maximum", "n"], rows) + "\n")
    imports = [(name, f"{took * 1000:.0f}") for name, took in import_times(times)]
    click.echo(table(["import", "its own modules, ms, median"], imports))


def timed(start: Callable[[int], AbstractContextManager[None]], port: int) -> float:
    """Seconds from a start to the first correct response."""
    image = EXAMPLE.read_bytes()
    begun = time.monotonic()
    with start(port):
        while time.monotonic() < begun + TIMEOUT_SECONDS:
            try:
                with urllib.request.urlopen(f"http://{HOST}:{port}/predict", image, timeout=30) as response:
                    if b'"digit":7,' in response.read():
                        return time.monotonic() - begun
            except OSError:
                time.sleep(POLL_SECONDS)
    raise click.ClickException(f"no response within {TIMEOUT_SECONDS} seconds")


@contextmanager
def gunicorn(port: int) -> Iterator[None]:
    environment = os.environ | {"PORT": str(port)}
    command = [sys.executable, "-m", "gunicorn"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet) as process:  # noqa: S603
        try:
            yield
        finally:
            process.terminate()


@contextmanager
def container(port: int) -> Iterator[None]:
    options = ["--rm", "--detach", "--network", "host", "--env", f"PORT={port}", "--name", CONTAINER]
    with subprocess.Popen(["docker", "run", *options, IMAGE], stdout=subprocess.DEVNULL) as process:  # noqa: S603, S607
        try:
            yield
        finally:
            process.wait()
            docker("stop", CONTAINER)


def docker(*arguments: str) -> bool:
    """Whether a Docker command succeeds."""
    try:
        return subprocess.run(["docker", *arguments], capture_output=True, check=False).returncode == 0  # noqa: S603, S607
    except FileNotFoundError:
        return False


def import_times(times: int) -> list[tuple[str, float]]:
    """The packages that the service imports, with the seconds that their own modules take, slowest first."""
    command = [sys.executable, "-X", "importtime", "-c", "import service.app, service.worker"]
    runs = [
        packages(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stderr)  # noqa: S603
        for _ in range(times)
    ]
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return [one for one in sorted(medians.items(), key=lambda one: -one[1]) if one[1] >= LEAST_SECONDS]


def packages(text: str) -> dict[str, float]:
    """Seconds per package from the output of `python -X importtime`; the standard library counts as one."""
    seconds: dict[str, float] = {}
    for own, module in re.findall(r"^import time: +(\d+) \| +\d+ \| +(\S+)$", text, re.MULTILINE):
        name = module.partition(".")[0]
        name = "Python's own" if name.lstrip("_") in STANDARD else name
        seconds[name] = seconds.get(name, 0) + int(own) / 1e6
    return seconds


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.performance.start")
