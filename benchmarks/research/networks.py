"""Error against time of our network and of published ones: `python -m benchmarks.research.networks`.

`--train` first trains the networks that runs/networks lacks: the peers by their own recipes (research/recipes.py),
and the first network tried here by `training train --quick`.
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
from benchmarks.research.recipes import PEERS, count_right, train, write
from digits.accuracy import wilson_interval
from digits.classifier import Classifier, ModelFile, load_session
from digits.recognizer import Recognizer
from digits.settings import ModelSettings
from training.__main__ import main as training
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
    "Made by `python -m benchmarks.research.networks`: {conditions}. What our networks refuse counts as wrong. "
    "The others were trained here, by their recipes (`benchmarks/research/recipes.py`); of mnist-12's own weights, "
    "which could not be had, "
    "1.1 % wrong is published."
)
# Runs of each network a round: few enough that all see the same machine, enough to be timed.
RUNS_A_ROUND, WARM_UP = 20, 10
TICKS = (10, 20, 50, 100, 200, 500)

Rows = list[dict[str, Any]]


@click.command()
@click.option("--train", "to_train", is_flag=True, help="Train what runs/networks lacks; takes about an hour.")
@click.option(
    "--also",
    type=(str, click.Path(exists=True, dir_okay=False, path_type=Path)),
    multiple=True,
    metavar="NAME FILE",
    help="Another network, an ONNX file of `training export`.",
)
@click.option("--rounds", default=1000, show_default=True, help="How often each network is timed, in turn.")
@click.option("--draw", is_flag=True, help="Only draw the results that there are.")
def main(to_train: bool, also: tuple[tuple[str, Path], ...], rounds: int, draw: bool) -> None:
    """Time networks and grade them on MNIST's test set; write the results as JSON, a table and a plot."""
    if not draw:
        if to_train:
            train_missing()
        files = {FIRST: trained(FIRST)} | shipped() | dict(also) | {name: trained(name) for name in PEERS}
        for name in [name for name, path in files.items() if not path.exists()]:
            click.echo(f"left out {name}, {files.pop(name)}: give --train", err=True)
        rows = [{"name": name} | grade(name, path) for name, path in files.items()]
        for row, times in zip(rows, timed(list(files.values()), rounds), strict=True):
            row |= times
        RESULTS.write_text(json.dumps({"conditions": conditions(rounds), "networks": rows}, indent=1) + "\n")
    results = json.loads(RESULTS.read_text())
    TABLE.write_text(table(results["networks"], results["conditions"]))
    plot(results["networks"], PLOT)
    click.echo(TABLE.read_text())


def shipped() -> dict[str, Path]:
    """The newest version of every formula in models/digits."""
    by_formula = {}
    for path in reversed(ModelSettings(model=MODELS).model_paths):
        by_formula[Classifier(path, "cpu").metadata["formula"]] = path
    return {f"digits, version {path.parent.name}": path for path in by_formula.values()}


def train_missing() -> None:
    """Trains the peers and the first network, each unless it is there."""
    if not trained(FIRST).exists():
        models, formula = str(trained(FIRST).parent.parent), ["--formula", FIRST_FORMULA]
        training(["train", "--quick", *formula, "--seed", "0", "--run", models], standalone_mode=False)
        training(["export", "--run", models, "--models", models, "--version", "1"], standalone_mode=False)
    for name, peer in PEERS.items():
        if not trained(name).exists():
            write(train(peer, load_training()), trained(name))


def trained(name: str) -> Path:
    return RUNS / name.replace("/", "-").replace(" ", "-") / "1" / "model.onnx"


def grade(name: str, path: Path) -> dict[str, Any]:
    """What a network costs, and how many of MNIST's test images it gets wrong."""
    test = load_test()
    if name in PEERS:
        right = count_right(load_session(ModelFile.read(path), "cpu"), PEERS[name], test)
    else:
        right = evaluate(Recognizer(path, "cpu"), test).correct
    return {"multiply_adds": multiply_adds(path), "wrong": len(test) - right, "count": len(test)}


def multiply_adds(path: Path) -> int:
    """Multiply-adds an image, by the shapes in an ONNX file."""
    graph = shape_inference.infer_shapes(onnx.load(path)).graph
    weights = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    sizes = {one.name: [side.dim_value for side in one.type.tensor_type.shape.dim[2:]] for one in graph.value_info}
    products = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    return sum(int(weights[node.input[1]].size * np.prod(sizes.get(node.output[0], []))) for node in products)


def timed(files: list[Path], rounds: int) -> list[dict[str, float]]:
    """Of each network the median microseconds an image, and the median of the rounds' ratios to the first of them.

    Batch 1, 1 thread, through ONNX Runtime as the service loads it; each in turn in every round. The microseconds are
    the processor's, which are the clock's where there is no other work.
    """
    sessions = [load_session(ModelFile.read(path), "cpu") for path in files]
    digit = load_test().images[:1]
    inputs = {"images": digit, "inputs": digit[None] / np.float32(255)}
    feeds = [{one.name: inputs[one.name] for one in session.get_inputs()} for session in sessions]
    microseconds = np.zeros((rounds, len(files)))
    for number in range(-min(WARM_UP, rounds), rounds):
        for place, (session, feed) in enumerate(zip(sessions, feeds, strict=True)):
            started = time.process_time()
            for _ in range(RUNS_A_ROUND):
                session.run(None, feed)
            microseconds[number, place] = (time.process_time() - started) / RUNS_A_ROUND * 1e6
    ratios = microseconds / microseconds[:, :1]
    middles = zip(np.median(microseconds, axis=0), np.median(ratios, axis=0), strict=True)
    return [{"microseconds": round(float(one), 1), "ratio": round(float(ratio), 3)} for one, ratio in middles]


def conditions(rounds: int) -> str:
    return (
        f"the processor's time, batch 1, 1 thread, medians of {rounds} rounds of {RUNS_A_ROUND} images in turn, "
        f"ONNX Runtime {onnxruntime.__version__}, {processor()}, {datetime.now(UTC):%B %Y}"
    )


def table(rows: Rows, conditions: str) -> str:
    """The results in Markdown."""
    lines = [
        "| network | multiply-adds | µs an image | times the first | wrong on the MNIST test set | n |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = wilson_interval(row["wrong"], row["count"])
        name = f"[{row['name']}]({PEERS[row['name']].source})" if row["name"] in PEERS else row["name"]
        lines.append(
            f"| {name} | {row['multiply_adds']:,} | {row['microseconds']} | {row['ratio']:.2f} "
            f"| {row['wrong'] / row['count']:.2%} (95 % interval {low:.2%} to {high:.2%}) | {row['count']:,} |"
        )
    return "\n".join([*lines, "", *textwrap.wrap(NOTE.format(conditions=conditions), 120), ""])


def plot(rows: Rows, file: Path) -> None:
    """Draws error against time, and the front of those that no other beats in both."""
    matplotlib.use("agg")
    figure, axes = pyplot.subplots(figsize=(7, 4))
    points = [(row["microseconds"], 100 * row["wrong"] / row["count"]) for row in rows]
    front = sorted(one for one in points if not any(is_beaten(one, other) for other in points))
    axes.plot(*zip(*front, strict=True), color="grey", linewidth=0.8)
    for row, (x, y) in zip(rows, points, strict=True):
        low, high = (100 * side for side in wilson_interval(row["wrong"], row["count"]))
        peer = row["name"] in PEERS
        axes.errorbar(x, y, [[y - low], [high - y]], fmt="s" if peer else "o", color="C1" if peer else "C0", capsize=2)
        name = row["name"] + ("\ntrained here" if peer else "")
        axes.annotate(name, (x, y), (5, 4), textcoords="offset points", fontsize=8)
    axes.set(
        xscale="log", xlabel="µs of the processor an image", ylabel="wrong on the MNIST test set, %", ylim=(0, None)
    )
    axes.set_xticks(TICKS, [str(one) for one in TICKS])
    axes.set_title("Error against time, with 95 % intervals")
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=120, bbox_inches="tight")


def is_beaten(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether the other is no worse in both and better in one."""
    return other != one and other[0] <= one[0] and other[1] <= one[1]


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.research.networks")
