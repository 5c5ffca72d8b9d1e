"""The evaluation as plots: a folder of PNG files."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import onnx
import onnxruntime
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from onnx import numpy_helper

from digits.classifier import CLASSES
from training.activations import with_activations
from training.datasets.mnist import DataError, Dataset
from training.evaluate import Results

WORST = 40
INK = "gray_r"


def write_report(model_path: Path, data: Dataset, results: Results, directory: Path) -> list[Path]:
    """Plots the learning curve, the confusion matrix, the worst mistakes, the first layer's filters and one digit's
    feature maps into `directory`; returns the files' paths."""
    matplotlib.use("agg")
    directory.mkdir(parents=True, exist_ok=True)
    model = onnx.load(model_path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if "history" not in metadata:
        raise DataError(f"{model_path}: expected a model of `digits export`; got one without a learning curve")
    figures = {
        "learning-curve": learning_curve(json.loads(metadata["history"])),
        "confusion-matrix": confusion_matrix(results),
        "worst-mistakes": worst_mistakes(data, results),
        "filters": filters(model),
        "feature-maps": feature_maps(model, data.images[0]),
    }
    paths = []
    for name, figure in figures.items():
        paths.append(directory / f"{name}.png")
        figure.savefig(paths[-1], dpi=150, bbox_inches="tight")
        pyplot.close(figure)
    (directory / "summary.txt").write_text(results.summary() + "\n", encoding="utf-8")
    return [*paths, directory / "summary.txt"]


def learning_curve(history: list[dict[str, float]]) -> Figure:
    figure, axes = pyplot.subplots(figsize=(7, 4))
    epochs = np.arange(1, len(history) + 1)
    errors = [100 * (1 - epoch["validation_accuracy"]) for epoch in history]
    axes.semilogy(epochs, errors, label="validation error")
    axes.axhline(errors[-1], linewidth=0.5, color="grey")
    axes.set(xlabel="epoch", ylabel="error, %", title=f"Validation error, {errors[-1]:.2f} % at the end")
    axes.grid(which="both", alpha=0.3)
    return figure


def confusion_matrix(results: Results) -> Figure:
    counts = results.confusion
    figure, axes = pyplot.subplots(figsize=(7, 6))
    wrong = np.where(np.eye(CLASSES, CLASSES + 1, dtype=bool), 0, counts)
    axes.imshow(wrong, cmap="Reds", vmin=0, vmax=max(1, wrong.max()))
    for (row, column), count in np.ndenumerate(counts):
        if count:
            weight = "bold" if row == column else "normal"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=7, weight=weight)
    axes.set_xticks(range(CLASSES + 1), [*map(str, range(CLASSES)), "none"])
    axes.set_yticks(range(CLASSES))
    axes.set(
        xlabel="read as", ylabel="is", title=f"{results.correct} of {results.count} correct ({results.accuracy:.2%})"
    )
    return figure


def worst_mistakes(data: Dataset, results: Results) -> Figure:
    """The mistakes with the highest confidence, in descending order."""
    wrong = np.flatnonzero(results.digits != results.labels)
    worst = wrong[np.argsort(-results.confidences[wrong])][:WORST]
    figure, grid = _grid(max(1, len(worst)), 10)
    for axes, index in zip(grid, worst, strict=False):
        axes.imshow(data.images[index], cmap=INK, vmin=0, vmax=255)
        read = "none" if results.digits[index] < 0 else results.digits[index]
        axes.set_title(f"{results.labels[index]} read as {read}\n{results.confidences[index]:.3f}", fontsize=7)
    figure.suptitle(f"The {len(worst)} most confident of {len(wrong)} mistakes")
    return figure


def filters(model: onnx.ModelProto) -> Figure:
    """The first layer's weights: one image per CONV filter or FC neuron."""
    initializers = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    weights = next(initializers[node.input[1]] for node in model.graph.node if node.op_type in ("Conv", "Gemm"))
    if weights.ndim == 2:
        side = round(weights.shape[1] ** 0.5)
        weights = weights.reshape(-1, 1, side, side)
    figure, grid = _grid(len(weights), 8)
    limit = float(np.abs(weights).max())
    for axes, one in zip(grid, weights, strict=False):
        axes.imshow(one[0], cmap="RdBu", vmin=-limit, vmax=limit)
    figure.suptitle(f"{len(weights)} filters of {weights.shape[2]}×{weights.shape[3]}, red negative, blue positive")
    return figure


def feature_maps(model: onnx.ModelProto, image: NDArray[np.uint8]) -> Figure:
    """The first feature maps of every layer for one digit, one row per layer."""
    names = [node.output[0] for node in model.graph.node if node.output[0].startswith("layer_")]
    session = onnxruntime.InferenceSession(
        with_activations(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    volumes = dict(zip(names, session.run(names, {"images": image[None]}), strict=True))
    volumes = {name: volume[0] for name, volume in volumes.items() if volume.ndim == 4}
    columns = 16
    figure, grid = pyplot.subplots(
        len(volumes) + 1, columns, figsize=(columns * 0.7, (len(volumes) + 1) * 0.8), squeeze=False
    )
    for axes in grid.flat:
        axes.axis("off")
    grid[0, 0].imshow(image, cmap=INK)
    grid[0, 0].set_title("input 28×28×1", fontsize=6, loc="left")
    for row, (name, volume) in zip(grid[1:], volumes.items(), strict=True):
        depth, height, width = volume.shape
        row[0].set_title(f"{name.replace('_', ' ')}, {width}×{height}×{depth}", fontsize=6, loc="left")
        for axes, feature_map in zip(row, volume, strict=False):
            axes.imshow(feature_map, cmap="viridis")
    return figure


def _grid(count: int, columns: int) -> tuple[Figure, NDArray[np.object_]]:
    rows = -(-count // columns)
    figure, grid = pyplot.subplots(rows, columns, figsize=(columns * 0.9, rows * 1.15), squeeze=False)
    axes: Axes
    for axes in grid.flat:
        axes.axis("off")
    return figure, grid.ravel()
