"""The service compared with other servers: `make bench`, or `python -m benchmarks.performance.serving`.

Starts every server with two processes and loads them alternately for several rounds, so that whatever else the machine
does affects all of them and servers can be compared within a round. The peers run version 3's network, so that a faster
one of ours counts (peers/plain.py). Needs Debian's wrk and nghttp2-client.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from PIL import Image

from benchmarks.accuracy.input_variations import file_of
from benchmarks.performance import bare
from benchmarks.performance.conditions import conditions
from benchmarks.performance.drivers import h2load, write_requests, wrk
from benchmarks.performance.peers.plain import MODEL, SHIPPED
from benchmarks.performance.photos import photo_of_a_digit
from benchmarks.performance.processes import with_cpu_seconds
from benchmarks.performance.report import SCENARIOS, Results, Run, first_table, render
from benchmarks.performance.servers import OURS, ROOT, SERVERS, Server, ask, http, install, running, url, versions
from training.datasets.mnist import load_test

# Networks alone: not servers, but measured in the same rounds.
NETWORKS = {
    "network": ("digits' network alone, `session.run`", SHIPPED),
    "peers-network": ("the peers' network alone", MODEL),
}
IMAGES, PHOTOS, CHECKED = 500, 4, 10
CONNECTIONS = {"png": 16, "photo": 8, "tensors": 1}
BATCH = 256
# Many h2load with one connection each, started in sequence: the clients of one would send at the same moments.
GROUPS, WARM_UP_SECONDS = 32, 0.5
OPEN_LOOP = ("ours", "other", "fastapi")
FIRST_PORT = 8300
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "serving.md", ROOT / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Started:
    """A running server, and the folder with the requests of each scenario."""

    name: str
    server: Server
    port: int
    process: int
    requests: Path

    def run(self, scenario: str, seconds: int) -> Run | None:
        """Loads the server; None if it does not take part in the scenario."""
        if scenario == "open":
            return self._open_loop(seconds) if self.name in OPEN_LOOP else None
        return self._closed_loop(scenario, seconds) if (self.requests / scenario).exists() else None

    def _closed_loop(self, scenario: str, seconds: int) -> Run:
        arguments = url(self.server, self.port), self.requests / scenario, CONNECTIONS[scenario], seconds
        load, cpu = with_cpu_seconds(self.process, lambda: wrk(*arguments))
        images = load.requests * (BATCH if scenario == "tensors" else 1)
        return Run(scenario, self.name, images / load.seconds, cpu / images, load.p50, load.p99, load.failed)

    def _open_loop(self, seconds: int) -> Run:
        """At half of the rate measured first."""
        rate = self._closed_loop("png", seconds).rate / 2
        arguments = [f"--rps={rate / GROUPS}", f"--data={self.requests / 'open'}", url(self.server, self.port)]
        responses, cpu = with_cpu_seconds(
            self.process, lambda: h2load(arguments, 1, seconds, GROUPS, 1 / rate, WARM_UP_SECONDS)
        )
        p50, p99 = np.percentile([took for _, took in responses], [50, 99])
        failed = sum(status != 200 for status, _ in responses)
        return Run("open", self.name, len(responses) / seconds, cpu / len(responses), p50, p99, failed)


@click.command()
@click.option("--peers", help="Servers, comma-separated; default all: " + ", ".join([*SERVERS, *NETWORKS]) + ".")
@click.option("--scenarios", help="Scenarios, comma-separated; default all: " + ", ".join(SCENARIOS) + ".")
@click.option("--rounds", default=5, show_default=True, help="Number of measurements per server and scenario.")
@click.option("--seconds", default=4, show_default=True, help="Duration of each.")
@click.option(
    "--other",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another checkout of this repository, compared as `other`.",
)
@click.option("--publish", is_flag=True, help=f"Write the tables into {RESULTS.name} and the first into {PAGE.name}.")
def main(
    peers: str | None, scenarios: str | None, rounds: int, seconds: int, other: Path | None, publish: bool
) -> None:
    """Print a table for each scenario."""
    servers = dict(SERVERS)
    if other:
        servers = {"ours": OURS, "other": replace(OURS, title="digits, the other checkout", directory=other)} | servers
    names = chosen(peers, [*servers, *NETWORKS])
    begun = conditions("make bench")
    taken = {name: servers[name] for name in names if name in servers}
    for server in taken.values():
        if server.environment:
            install(server.environment)
    runs = []
    with started(taken) as measured:
        turns = [one.run for one in measured] + [alone(name) for name in names if name in NETWORKS]
        for number, scenario, turn in itertools.product(range(rounds + 1), chosen(scenarios, list(SCENARIOS)), turns):
            # The first round is a warm-up.
            run = turn(scenario, seconds if number else 1)
            if run and number:
                click.echo(line(number, run), err=True)
                runs.append(run)
    begun += [f"{server.title}: {versions(server)}" for server in taken.values()]
    begun.append(f"two processes each; medians of {rounds} rounds of {seconds} seconds per server, alternating")
    titles = {name: server.title for name, server in taken.items()} | {
        name: title for name, (title, _) in NETWORKS.items() if name in names
    }
    text = render(Results(begun, titles, CONNECTIONS, runs))
    click.echo(text)
    if publish:
        shown = PAGE.read_text(encoding="utf-8")
        shown = shown.replace(first_table(RESULTS.read_text(encoding="utf-8")), first_table(text))
        PAGE.write_text(shown, encoding="utf-8")
        RESULTS.write_text(text, encoding="utf-8")


def chosen(text: str | None, names: Sequence[str]) -> list[str]:
    """Comma-separated names, in the order of `names`; all if none are given."""
    given = text.split(",") if text else names
    for name in given:
        if name not in names:
            raise click.ClickException(f"expected one of {', '.join(names)}; got {name}")
    return [name for name in names if name in given]


@contextmanager
def started(servers: dict[str, Server]) -> Iterator[list[Started]]:
    """Starts the servers and checks that each reads digits correctly."""
    data = load_test()
    images = [file_of(Image.fromarray(image)) for image in data.images[:IMAGES]]
    photos = [photo_of_a_digit(number=number) for number in range(PHOTOS)]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        result = []
        for port, (name, server) in enumerate(servers.items(), FIRST_PORT):
            process = stack.enter_context(running(server, port, images[0]))
            check(server, port, images[:CHECKED], data.labels[:CHECKED].tolist())
            requests = directory / name
            requests.mkdir()
            for scenario, files in (("png", images), ("photo", photos)):
                write_requests(
                    [http(server.path, *server.encode(file), server.headers) for file in files], requests / scenario
                )
            if server.tensors:
                batches = data.images[: BATCH * 8].reshape(8, BATCH, 28, 28)
                write_requests([http(*server.tensors(batch)) for batch in batches], requests / "tensors")
            (requests / "open").write_bytes(server.encode(images[0])[1])
            result.append(Started(name, server, port, process, requests))
        yield result


def check(server: Server, port: int, images: Sequence[bytes], labels: Sequence[int]) -> None:
    """Fails if a server misreads a digit. The empty handler always answers null."""
    for image, label in zip(images, labels, strict=True):
        answer = ask(server, port, image).decode(errors="replace").replace("\\", "").replace(" ", "")
        if f'"digit":{label},' not in answer and '"digit":null}' not in answer:
            raise click.ClickException(f"{server.title}: expected the digit {label}; got {answer}")


def alone(name: str) -> Callable[[str, int], Run | None]:
    """A network alone: two processes with one image per run, or one process with its best batch size."""
    best: list[int] = []
    _, model = NETWORKS[name]

    def turn(scenario: str, seconds: int) -> Run | None:
        if scenario == "png":
            batch, processes = 1, 2
        elif scenario == "tensors":
            if not best:
                best.append(bare.best_batch(model, seconds))
            batch, processes = best[0], 1
        else:
            return None
        load, cpu = bare.run(model, batch, seconds, processes)
        return Run(scenario, name, load.rate * batch, cpu / batch, None, None)

    return turn


def line(number: int, run: Run) -> str:
    """A run as a line of progress."""
    latency = "" if run.p99 is None else f", p99 {run.p99 * 1e3:.1f} ms"
    failed = f", {run.failed} failed" if run.failed else ""
    cpu = f"{run.cpu * 1e6:,.0f} µs of CPU each"
    return f"round {number}, {run.scenario}, {run.server}: {run.rate:,.0f}/s, {cpu}{latency}{failed}"


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.performance.serving")
