"""Reading pages of digits, compared with programs that read any text: `python -m benchmarks.performance.reading`.

Each program reads the same pages, one after the other, on one thread, in an environment of its own. Tesseract must be
installed (Debian: tesseract-ocr).
"""

import json
import os
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.accuracy.drawing import in_processes
from benchmarks.accuracy.reading import FIRST_SEED, PAGES, Sample, judged, page_with_lines, real_pages
from benchmarks.performance.conditions import conditions
from benchmarks.performance.servers import ROOT, install, python_of
from benchmarks.tables import document, table

RESULTS = Path("benchmarks/results/reading.md")


@dataclass(frozen=True)
class Reader:
    """A program that reads pages: its title, its module among the peers, and its environment unless that is ours."""

    title: str
    module: str
    environment: str | None = None


READERS = (
    Reader("**digits**", "own"),
    Reader("RapidOCR 3.10.0, PP-OCRv6", "rapidocr", "rapidocr"),
    Reader("Tesseract {}, only digits allowed", "tesseract"),
)


@dataclass
class Score:
    """What a reader made of some pages."""

    digits: int = 0
    edits: int = 0
    lines: int = 0
    exact: int = 0
    seconds: list[float] = field(default_factory=list)
    peak: int = 0

    def add(self, lines: Sequence[str], answer: dict[str, object]) -> None:
        """Judges one page as the model card does."""
        read = answer["lines"]
        assert isinstance(read, list)
        exact, edits = judged(lines, read)
        self.digits += sum(map(len, lines))
        self.edits += edits
        self.lines += len(lines)
        self.exact += sum(exact)
        self.seconds.append(float(str(answer["seconds"])))
        self.peak = max(self.peak, int(str(answer["peak"])))


def scored(reader: Reader, samples: Sequence[Sample], folder: Path) -> Score:
    """Has a reader read pages, whose files are written into a folder."""
    score = Score()
    command: list[str | Path] = [
        python_of(reader.environment),
        "-m",
        f"benchmarks.performance.peers.{reader.module}.reader",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1"}
    with subprocess.Popen(  # noqa: S603 - our own commands
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        for number, (file, lines) in enumerate(samples):
            path = folder / f"{number}.jpg"
            path.write_bytes(file)
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            score.add(lines, json.loads(process.stdout.readline()))
        process.stdin.close()
    return score


def measured(samples: Sequence[Sample], readers: Sequence[Reader]) -> str:
    """A table of all readers on the same pages."""
    rows = []
    for reader in readers:
        with TemporaryDirectory() as folder:
            score = scored(reader, samples, Path(folder))
        click.echo(f"{reader.module}: {score.edits} edits in {score.digits} digits", err=True)
        rows.append(
            [
                reader.title.format(_tesseract()),
                f"{1 - score.edits / score.digits:.1%} of {score.digits:,}",
                f"{score.exact / score.lines:.1%} of {score.lines:,}",
                f"{statistics.median(score.seconds):.2f}",
                f"{max(score.seconds):.2f}",
                f"{score.peak / 2**20:.0f}",
            ]
        )
    heads = ["reader", "digits read right", "lines read exactly", "CPU s per page", "most", "peak memory, MB"]
    return table(heads, rows)


def _tesseract() -> str:
    if not shutil.which("tesseract"):
        raise click.ClickException("expected Tesseract; got none; apt install tesseract-ocr")
    said = subprocess.run(["tesseract", "--version"], capture_output=True, text=True, check=True)  # noqa: S607
    return said.stdout.split()[1]


@click.command()
@click.option("--pages", default=PAGES, show_default=True, help="Number of photographed pages, the model card's.")
@click.option("--real-pages", "folder", type=click.Path(path_type=Path), help="A folder of pages and labels.csv.")
@click.option("--publish", is_flag=True, help=f"Write {RESULTS}.")
def main(pages: int, folder: Path | None, publish: bool) -> None:
    """Print the tables."""
    begun = conditions("python -m benchmarks.performance.reading")
    _tesseract()
    for reader in READERS:
        if reader.environment:
            install(reader.environment)
    made = list(in_processes(page_with_lines, range(FIRST_SEED, FIRST_SEED + pages)))
    blocks = [f"{pages} photographed pages, made as the model card's:", measured(made, READERS)]
    if folder:
        real = real_pages(folder)
        blocks += [f"{len(real)} real photographs of pages:", measured(real, READERS)]
    text = document("Reading pages", [*begun, "one thread each; CPU time is the median page's"], *blocks)
    click.echo(text)
    if publish:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.performance.reading")
