"""Error against time of our networks and published ones: `python -m benchmarks.research.networks`.

`--train` first trains the networks missing from runs/networks: the published ones by their recipes (recipes.py), and
our first network by the quick recipe.
"""

import json
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import matplotlib
import numpy as np
import onnx
import onnxruntime
from matplotlib import pyplot
from onnx import numpy_helper, shape_inference

from benchmarks.performance.conditions import processor
from benchmarks.research.recipes import PEERS, count_correct, train, write
from benchmarks.tables import table
from digits.accuracy import wilson_interval
from digits.classifier import Classifier
from digits.recognizer import Recognizer
from digits.session import ModelFile, load_session
from digits.settings import ModelSettings
from training.commands import main as training
from training.datasets.mnist import load_test, load_training
from training.evaluate import evaluate

MODELS, RUNS = Path("models/digits"), Path("runs/networks")
RESULTS, TABLE, PLOT = (Path("benchmarks/results/networks").with_suffix(one) for one in (".json", ".md", ".png"))
FIRST = "first network"
FIRST_FORMULA = (
    "INPUT 28x28x1 -> [CONV 3x3x16 pad 1 -> RELU]*2 -> POOL 2x2 -> [CONV 3x3x32 pad 1 -> RELU]*2 -> POOL 2x2"
    " -> [CONV 3x3x64 pad 1 -> RELU]*2 -> POOL 3x3 stride 2 -> FC 10"
)
NOTE = (
    "Made by `python -m benchmarks.research.networks`: {conditions}. Digits that our networks reject count as wrong. "
    "The others were trained by their recipes (`benchmarks/research/recipes.py`). mnist-12's own weights were not "
    "available; their published error is 1.1 %."
)
# Runs of each network per round: enough to be timed, few enough that all networks see the same machine.
RUNS_PER_ROUND, WARM_UP = 20, 10
TICKS = (10, 20, 50, 100, 200, 500)

Rows = list[dict[str, Any]]


@click.command()
@click.option("--train", "to_train", is_flag=True, help="Train the missing networks; takes about an hour.")
@click.option(
    "--also",
    type=(str, click.Path(exists=True, dir_okay=False, path_type=Path)),
    multiple=True,
    metavar="NAME FILE",
    help="Another network, an ONNX file of `digits export`.",
)
@click.option("--rounds", default=1000, show_default=True, help="Number of rounds of timing.")
@click.option("--draw", is_flag=True, help="Only draw existing results.")
def main(to_train: bool, also: tuple[tuple[str, Path], ...], rounds: int, draw: bool) -> None:
    """Time networks and measure their accuracy on MNIST's test set; write JSON, a table and a plot."""
    if not draw:
        if to_train:
            train_missing()
        files = {FIRST: trained(FIRST)} | shipped() | dict(also) | {name: trained(name) for name in PEERS}
        for name in [name for name, path in files.items() if not path.exists()]:
            click.echo(f"skipped {name}, {files.pop(name)}: needs --train", err=True)
        rows = [{"name": name} | measure(name, path) for name, path in files.items()]
        for row, times in zip(rows, timed(list(files.values()), rounds), strict=True):
            row |= times
        RESULTS.write_text(json.dumps({"conditions": conditions(rounds), "networks": rows}, indent=1) + "\n")
    results = json.loads(RESULTS.read_text())
    TABLE.write_text(render(results["networks"], results["conditions"]))
    plot(results["networks"], PLOT)
    click.echo(TABLE.read_text())


def shipped() -> dict[str, Path]:
    """The newest version of each formula in models/digits."""
    by_formula = {}
    for path in reversed(ModelSettings(model=MODELS).model_paths):
        by_formula[Classifier(path, "cpu").metadata["formula"]] = path
    return {f"digits, version {path.parent.name}": path for path in by_formula.values()}


def train_missing() -> None:
    """Trains the missing published networks and the first network."""
    if not trained(FIRST).exists():
        models, formula = str(trained(FIRST).parent.parent), ["--formula", FIRST_FORMULA]
        training(["train", "--quick", *formula, "--seed", "0", "--run", models], standalone_mode=False)
        training(["export", "--run", models, "--models", models, "--version", "1"], standalone_mode=False)
    for name, peer in PEERS.items():
        if not trained(name).exists():
            write(train(peer, load_training()), trained(name))


def trained(name: str) -> Path:
    return RUNS / name.replace("/", "-").replace(" ", "-") / "1" / "model.onnx"


def measure(name: str, path: Path) -> dict[str, Any]:
    """A network's cost, and its errors on MNIST's test set."""
    test = load_test()
    if name in PEERS:
        correct = count_correct(load_session(ModelFile.read(path), "cpu"), PEERS[name], test)
    else:
        correct = evaluate(Recognizer(path, "cpu"), test).correct
    return {"multiply_adds": multiply_adds(path), "wrong": len(test) - correct, "count": len(test)}


def multiply_adds(path: Path) -> int:
    """Multiply-adds per image, from the shapes in an ONNX file."""
    graph = shape_inference.infer_shapes(onnx.load(path)).graph
    weights = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    sizes = {one.name: [side.dim_value for side in one.type.tensor_type.shape.dim[2:]] for one in graph.value_info}
    products = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    return sum(int(weights[node.input[1]].size * np.prod(sizes.get(node.output[0], []))) for node in products)


def timed(files: list[Path], rounds: int) -> list[dict[str, float]]:
    """Each network's median CPU microseconds per image, and the median over rounds of the ratio to the first network.

    Batch 1, 1 thread, through ONNX Runtime as configured for serving; the networks alternate in every round.
    """
    sessions = [load_session(ModelFile.read(path), "cpu") for path in files]
    digit = load_test().images[:1]
    inputs = {"images": digit, "inputs": digit[None] / np.float32(255)}
    feeds = [{one.name: inputs[one.name] for one in session.get_inputs()} for session in sessions]
    microseconds = np.zeros((rounds, len(files)))
    for number in range(-min(WARM_UP, rounds), rounds):
        for place, (session, feed) in enumerate(zip(sessions, feeds, strict=True)):
            started = time.process_time()
            for _ in range(RUNS_PER_ROUND):
                session.run(None, feed)
            microseconds[number, place] = (time.process_time() - started) / RUNS_PER_ROUND * 1e6
    ratios = microseconds / microseconds[:, :1]
    middles = zip(np.median(microseconds, axis=0), np.median(ratios, axis=0), strict=True)
    return [{"microseconds": round(float(one), 1), "ratio": round(float(ratio), 3)} for one, ratio in middles]


def conditions(rounds: int) -> str:
    return (
        f"CPU time, batch 1, 1 thread, medians of {rounds} alternating rounds of {RUNS_PER_ROUND} images, "
        f"ONNX Runtime {onnxruntime.__version__}, {processor()}, {datetime.now(UTC):%B %Y}"
    )


def render(rows: Rows, conditions: str) -> str:
    """The results in Markdown."""
    heads = ["network", "multiply-adds", "µs per image", "relative to the first", "error on the MNIST test set", "n"]
    cells = []
    for row in rows:
        low, high = wilson_interval(row["wrong"], row["count"])
        name = f"[{row['name']}]({PEERS[row['name']].source})" if row["name"] in PEERS else row["name"]
        error = f"{row['wrong'] / row['count']:.2%} (95 % interval {low:.2%} to {high:.2%})"
        cost = f"{row['multiply_adds']:,}", row["microseconds"], f"{row['ratio']:.2f}"
        cells.append((name, *cost, error, f"{row['count']:,}"))
    return f"{table(heads, cells)}\n\n{textwrap.fill(NOTE.format(conditions=conditions), 120)}\n"


def plot(rows: Rows, file: Path) -> None:
    """Draws error against time, and the Pareto front."""
    matplotlib.use("agg")
    figure, axes = pyplot.subplots(figsize=(7, 4))
    points = [(row["microseconds"], 100 * row["wrong"] / row["count"]) for row in rows]
    front = sorted(one for one in points if not any(is_beaten(one, other) for other in points))
    axes.plot(*zip(*front, strict=True), color="grey", linewidth=0.8)
    for row, (x, y) in zip(rows, points, strict=True):
        low, high = (100 * side for side in wilson_interval(row["wrong"], row["count"]))
        peer = row["name"] in PEERS
        axes.errorbar(x, y, [[y - low], [high - y]], fmt="s" if peer else "o", color="C1" if peer else "C0", capsize=2)
        name = row["name"] + "\ntrained here" if peer else row["name"].replace(", ", ",\n")
        axes.annotate(name, (x, y), (5, 4), textcoords="offset points", fontsize=8)
    axes.set(xscale="log", xlabel="CPU µs per image", ylabel="error on the MNIST test set, %", ylim=(0, None))
    axes.set_xticks(TICKS, [str(one) for one in TICKS])
    axes.set_title("Error against time, with 95 % intervals")
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=120, bbox_inches="tight")


def is_beaten(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether the other is no worse in both and better in one."""
    return other != one and other[0] <= one[0] and other[1] <= one[1]


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.research.networks")
