"""A network as a table: every layer's volume, parameters and cost."""

from training.formula import Architecture, Layer

_HEADINGS = ("layer", "volume", "parameters", "multiply-adds", "receptive field", "weights without sharing")


def describe(architecture: Architecture) -> str:
    """The architecture as a text table: one row per layer, and the totals."""
    rows = [_HEADINGS, *(_row(layer) for layer in architecture.layers)]
    unshared = sum(layer.unshared_weights for layer in architecture.layers)
    rows.append(("total", "", str(architecture.parameters), str(architecture.multiply_adds), "", str(unshared)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [f"{'<' if column < 2 else '>'}{width}" for column, width in enumerate(widths)]
    lines = ["  ".join(map(format, row, aligned)).rstrip() for row in rows]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _row(layer: Layer) -> tuple[str, ...]:
    sum_of_parameters = f"{layer.weights_per_filter}·{layer.output.depth} + {layer.biases} = {layer.parameters}"
    return (
        str(layer),
        str(layer.output),
        sum_of_parameters if layer.parameters else "0",
        str(layer.multiply_adds),
        "×".join(map(str, layer.receptive_field)),
        str(layer.unshared_weights),
    )
