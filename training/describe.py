"""A network's table: every layer's volume, parameters and cost."""

from training.formula import Architecture, Layer

_HEADINGS = ("layer", "volume", "parameters", "multiply-adds", "receptive field", "weights without sharing")


def describe(architecture: Architecture) -> str:
    """The architecture as a table of text, a row a layer, with its totals."""
    rows = [_HEADINGS, *(_row(layer) for layer in architecture.layers)]
    unshared = sum(layer.unshared_weights for layer in architecture.layers)
    rows.append(("total", "", str(architecture.parameters), str(architecture.multiply_adds), "", str(unshared)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _row(layer: Layer) -> tuple[str, ...]:
    has_weights = layer.parameters > 0
    return (
        str(layer),
        str(layer.output),
        f"{layer.weights_per_filter}·{layer.output.depth} + {layer.biases} = {layer.parameters}"
        if has_weights
        else "0",
        str(layer.multiply_adds),
        "×".join(map(str, layer.receptive_field)),
        str(layer.unshared_weights),
    )


def _aligned(row: tuple[str, ...], widths: list[int]) -> list[str]:
    return [
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
