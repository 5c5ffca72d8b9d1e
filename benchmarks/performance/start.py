"""Time from start to the first answer, and import times: `python -m benchmarks.performance.start`.

The container is built first, and started with the host's network; it is left out where no Docker engine answers.
"""

import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable

import click

from benchmarks.performance.conditions import conditions
from benchmarks.performance.servers import HOST, ROOT

IMAGE, CONTAINER = "digits-start", "digits-start"
EXAMPLE = ROOT / "examples" / "7.png"
LONGEST_SECONDS = 60
# How often the service is asked until it answers.
EVERY_SECONDS = 0.005
# Packages that take less to import are left out.
LEAST_SECONDS = 0.005
STANDARD = {name.lstrip("_") for name in sys.stdlib_module_names} | {"site"}


@click.command()
@click.option("--times", default=10, show_default=True, help="How often each is started.")
@click.option("--port", default=8098, show_default=True, help="Port to serve on meanwhile.")
def main(times: int, port: int) -> None:
    """Print the time from exec to the first right answer, and that of importing each package."""
    begun = conditions("python -m benchmarks.performance.start")
    rows = {"`gunicorn`": [started(gunicorn, port) for _ in range(times)]}
    if docker("info"):
        flags = os.environ.get("DOCKER_BUILD_FLAGS", "").split()
        if not docker("build", *flags, "--tag", IMAGE, str(ROOT)):
            raise click.ClickException("expected the container to be built; docker build failed")
        rows["`docker run`"] = [started(container, port) for _ in range(times)]
    else:
        click.echo("left out docker run: no Docker engine answers", err=True)
    click.echo("\n".join(f"- {line}" for line in begun))
    click.echo("\n| from exec to the first right answer | s, median | least | most | n |\n|---|---|---|---|---|")
    for name, seconds in rows.items():
        cells = (statistics.median(seconds), min(seconds), max(seconds))
        click.echo(f"| {name} | {' | '.join(f'{one:.2f}' for one in cells)} | {len(seconds)} |")
    click.echo("\n| import | its own modules, ms, median |\n|---|---|")
    for name, took in import_times(times):
        click.echo(f"| {name} | {took * 1000:.0f} |")


def started(start: Callable[[int], Callable[[], None]], port: int) -> float:
    """Seconds from a start to the first right answer; what `start` gives stops it again."""
    image = EXAMPLE.read_bytes()
    begun = time.monotonic()
    stop = start(port)
    try:
        while time.monotonic() < begun + LONGEST_SECONDS:
            try:
                with urllib.request.urlopen(f"http://{HOST}:{port}/predict", image, timeout=30) as response:
                    if b'"digit":7,' in response.read():
                        return time.monotonic() - begun
            except OSError:
                time.sleep(EVERY_SECONDS)
        raise click.ClickException(f"expected an answer within {LONGEST_SECONDS} seconds; got none")
    finally:
        stop()


def gunicorn(port: int) -> Callable[[], None]:
    """Starts the service here."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn"],
        cwd=ROOT,
        env=os.environ | {"PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def stop() -> None:
        process.terminate()
        process.wait()

    return stop


def container(port: int) -> Callable[[], None]:
    """Starts the service in its container."""
    options = ["--rm", "--detach", "--network", "host", "--env", f"PORT={port}", "--name", CONTAINER]
    process = subprocess.Popen(["docker", "run", *options, IMAGE], stdout=subprocess.DEVNULL)  # noqa: S603, S607

    def stop() -> None:
        process.wait()
        docker("stop", CONTAINER)

    return stop


def docker(*arguments: str) -> bool:
    """Whether a command of Docker's succeeds."""
    try:
        return subprocess.run(["docker", *arguments], capture_output=True, check=False).returncode == 0  # noqa: S603, S607
    except FileNotFoundError:
        return False


def import_times(times: int) -> list[tuple[str, float]]:
    """The packages that the service imports and the seconds that each one's own modules take, the longest first."""
    command = [sys.executable, "-X", "importtime", "-c", "import service.app, service.worker"]
    runs = [
        packages(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stderr)  # noqa: S603
        for _ in range(times)
    ]
    middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return [one for one in sorted(middle.items(), key=lambda one: -one[1]) if one[1] >= LEAST_SECONDS]


def packages(text: str) -> dict[str, float]:
    """Seconds by package of what `python -X importtime` printed; Python's own modules are one."""
    seconds: dict[str, float] = {}
    for own, module in re.findall(r"^import time: +(\d+) \| +\d+ \| +(\S+)$", text, re.MULTILINE):
        name = module.partition(".")[0]
        name = "Python's own" if name.lstrip("_") in STANDARD else name
        seconds[name] = seconds.get(name, 0) + int(own) / 1e6
    return seconds


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.performance.start")
