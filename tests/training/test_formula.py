import pytest

from training.formula import FormulaError, Layer, Volume, parse


def only_layer(formula: str, kind: str = "CONV") -> Layer:
    [layer] = [layer for layer in parse(formula).layers if layer.kind == kind]
    return layer


def test_textbook_filter_bank() -> None:
    layer = only_layer("INPUT 32x32x3 -> CONV 5x5x6")
    assert layer.output == Volume(28, 28, 6)
    assert layer.weights_per_filter == 75
    assert layer.biases == 6
    assert layer.parameters == 456
    neurons_of_a_map = layer.output.width * layer.output.height
    assert neurons_of_a_map - 1 == 783  # neurons that share another one's filter
    assert layer.unshared_weights == 75 * 784 * 6


def test_second_filter_bank_spans_the_whole_depth() -> None:
    layer = parse("INPUT 32x32x3 -> CONV 5x5x6 -> RELU -> CONV 5x5x10").layers[-1]
    assert layer.output == Volume(24, 24, 10)
    assert layer.weights_per_filter == 5 * 5 * 6
    assert layer.receptive_field == (9, 9)


def test_padding_keeps_the_size() -> None:
    assert only_layer("INPUT 7x7x1 -> CONV 3x3x1 pad 1").output == Volume(7, 7, 1)


@pytest.mark.parametrize(
    ("formula", "volume"),
    [
        ("INPUT 7x7x3 -> CONV 3x3x2", Volume(5, 5, 2)),
        ("INPUT 7x7x3 -> CONV 3x3x2 stride 2", Volume(3, 3, 2)),
        ("INPUT 7x7x3 -> CONV 3x3x2 stride 2 pad 1", Volume(4, 4, 2)),
        ("INPUT 227x227x3 -> CONV 11x11x96 stride 4", Volume(55, 55, 96)),
        ("INPUT 9x5x1 -> CONV 3x3x2", Volume(7, 3, 2)),
    ],
)
def test_output_size(formula: str, volume: Volume) -> None:
    assert only_layer(formula).output == volume


def test_pooling_halves_width_and_height_and_keeps_the_depth() -> None:
    layer = only_layer("INPUT 24x24x10 -> POOL 2x2", "POOL")
    assert layer.output == Volume(12, 12, 10)
    assert layer.parameters == 0


def test_groups_nest_and_may_repeat_zero_times() -> None:
    nested = parse("INPUT 28x28x1 -> [[CONV 3x3x4 pad 1 -> RELU]*2 -> POOL 2x2]*2 -> [FC 9 -> RELU]*0 -> FC 10")
    written_out = parse(
        "INPUT 28x28x1 -> CONV 3x3x4 pad 1 -> RELU -> CONV 3x3x4 pad 1 -> RELU -> POOL 2x2"
        " -> CONV 3x3x4 pad 1 -> RELU -> CONV 3x3x4 pad 1 -> RELU -> POOL 2x2 -> FC 10"
    )
    assert nested.layers == written_out.layers


def test_alternative_spellings() -> None:
    assert (
        parse("input 28×28×1 → conv 3×3×4 PAD 1 → fc 10").layers
        == parse("INPUT 28x28x1->CONV 3x3x4 pad 1->FC 10").layers
    )


def test_totals_and_receptive_field() -> None:
    architecture = parse("INPUT 28x28x1 -> CONV 5x5x6 -> RELU -> POOL 2x2 -> CONV 5x5x16 -> RELU -> POOL 2x2 -> FC 10")
    assert architecture.parameters == 156 + 2416 + 2570
    assert architecture.multiply_adds == 24 * 24 * 6 * 25 + 8 * 8 * 16 * 150 + 256 * 10
    assert [layer.receptive_field[0] for layer in architecture.layers] == [1, 5, 5, 6, 14, 14, 16, 28]


@pytest.mark.parametrize(
    ("formula", "message", "column"),
    [
        ("", "expected INPUT, CONV, RELU, POOL, FC or [; got the end", 0),
        ("CONV 3x3x4", "expected INPUT first", 0),
        ("[INPUT 28x28x1]*0", "expected INPUT first", 0),
        ("INPUT 28x28", "expected INPUT WxHxD, for example INPUT 28x28x1; got '28x28'", 6),
        ("INPUT 28x28x0", "every size 1 or more", 6),
        ("INPUT 28x28x1 ->", "got the end", 16),
        ("INPUT 28x28x1 -> DENSE 10", "expected INPUT, CONV, RELU, POOL, FC or [; got 'DENSE'", 17),
        ("INPUT 28x28x1 -> CONV 3x4x8", "expected a square window", 22),
        ("INPUT 28x28x1 -> CONV 3x3x8 pad", "expected a whole number after pad; got the end", 31),
        ("INPUT 28x28x1 -> CONV 3x3x8 pad 1 pad 1", "expected pad once", 34),
        ("INPUT 28x28x1 -> CONV 3x3x8 stride 0", "expected a stride of 1 or more; got 0", 35),
        ("INPUT 28x28x1 -> FC 10 -> CONV 1x1x3", "expected FC or RELU after FC; got CONV", 26),
        ("INPUT 28x28x1 -> INPUT 28x28x1", "expected INPUT only once", 17),
        ("INPUT 28x28x1 -> [FC 10", "expected -> or ] to close the group; got the end", 23),
        ("INPUT 28x28x1 -> [FC 10]", "expected *n after the group", 24),
        ("INPUT 28x28x1 -> [FC 10]*x", "expected a whole number of repetitions; got 'x'", 25),
        ("INPUT 28x28x1 -> FC 10 FC 10", "expected -> or the end; got 'FC'", 23),
        ("INPUT 28x28x1 -> [RELU]*999999", "expected at most 1000 layers", 24),
        ("INPUT 28x28x1 -> " + "[" * 30, "nested at most 20 deep", 37),
        (
            "INPUT 28x28x1 -> [POOL 2x2]*3",
            "layer 3, POOL 2x2: the output size (7 - 2 + 2*0)/2 + 1 is not a whole number",
            18,
        ),
        ("INPUT 5x5x1 -> CONV 7x7x1", "layer 1, CONV 7x7x1: the output size (5 - 7 + 2*0)/1 + 1 leaves no room", 15),
        ("INPUT 28x28x1 → CONV 3×3×8 → POOL 3x3", "layer 2, POOL 3x3", 31),
    ],
)
def test_errors_point_at_the_position(formula: str, message: str, column: int) -> None:
    with pytest.raises(FormulaError) as caught:
        parse(formula)
    text, shown, pointer = str(caught.value).rsplit("\n", 2)
    assert message in text
    assert pointer.index("^") - 2 == column
    assert len(shown) - 2 >= column


def test_classifier_must_fit_images_and_classes() -> None:
    image = Volume(28, 28, 1)
    parse("INPUT 28x28x1 -> FC 10").require_classifier(image, 10)
    for formula in ("INPUT 32x32x3 -> FC 10", "INPUT 28x28x1 -> FC 11", "INPUT 28x28x1 -> FC 10 -> RELU"):
        with pytest.raises(FormulaError, match="expected"):
            parse(formula).require_classifier(image, 10)


@pytest.mark.parametrize(
    "formula",
    [
        "INPUT 12x12x1 -> CONV 3x3x2 pad 1 -> RELU -> POOL 2x2 -> CONV 3x3x2 pad 1 -> RELU",
        "INPUT 15x15x1 -> CONV 5x5x2 stride 2 pad 1 -> CONV 3x3x2 stride 2",
    ],
)
def test_receptive_field_is_what_a_neuron_sees(formula: str) -> None:
    """Computed the slow way: a neuron sees what the neurons under its window see."""
    layers = parse(formula).layers
    seen = {(0, place): {place} for place in range(layers[0].output.width)}
    for number, layer in enumerate(layers[1:], start=1):
        for place in range(layer.output.width):
            first = place * layer.stride - layer.padding
            covered = [seen.get((number - 1, one), set()) for one in range(first, first + layer.size)]
            seen[number, place] = set().union(*covered)
            start = layer.start + place * layer.jump
            field = range(start, start + layer.receptive_field[0])
            assert seen[number, place] == set(field) & set(range(layers[0].output.width))
