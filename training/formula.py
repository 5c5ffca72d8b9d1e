"""Parses and checks the formula of a CNN and computes every layer's size and cost.

    INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K -> FC

with its sizes, for example

    INPUT 28x28x1 -> [CONV 3x3x16 pad 1 -> RELU]*2 -> POOL 2x2 -> [FC 128 -> RELU]*1 -> FC 10

Needs only the standard library, so that a formula can be described without PyTorch.
"""

import re
from dataclasses import dataclass
from functools import cached_property

MAXIMUM_LAYERS = 1000


class FormulaError(ValueError):
    """The formula cannot be parsed or its sizes do not fit; the message points at the position."""


@dataclass(frozen=True)
class Volume:
    """A block of neurons: width × height × depth."""

    width: int
    height: int
    depth: int

    @property
    def neurons(self) -> int:
        return self.width * self.height * self.depth

    def __str__(self) -> str:
        return f"{self.width}×{self.height}×{self.depth}"


@dataclass(frozen=True)
class Layer:
    """One layer: its input, its output, its cost.

    `size`, `stride` and `padding` describe the window of CONV and POOL; other layers keep 1, 1 and 0.
    `receptive_field` is the width and height, in input pixels, that one neuron sees. The neuron in column x sees
    columns from `start` + x·`jump` on; rows likewise.
    """

    kind: str
    input: Volume
    output: Volume
    receptive_field: tuple[int, int]
    size: int = 1
    stride: int = 1
    padding: int = 0
    jump: int = 0
    start: int = 0

    @property
    def weights_per_filter(self) -> int:
        """Weights of one CONV filter (F·F·D) or one FC neuron, without its bias."""
        match self.kind:
            case "CONV":
                return self.size * self.size * self.input.depth
            case "FC":
                return self.input.neurons
            case _:
                return 0

    @property
    def weights(self) -> int:
        return self.weights_per_filter * self.output.depth

    @property
    def biases(self) -> int:
        return self.output.depth if self.weights_per_filter else 0

    @property
    def parameters(self) -> int:
        return self.weights + self.biases

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds per image."""
        return self.weights_per_filter * self.output.neurons

    @property
    def unshared_weights(self) -> int:
        """The number of weights if every neuron had its own instead of sharing its feature map's filter.

        One per connection, hence as many as multiply-adds.
        """
        return self.multiply_adds

    def __str__(self) -> str:
        match self.kind:
            case "INPUT":
                return f"INPUT {self.output}"
            case "CONV":
                text = f"CONV {self.size}×{self.size}×{self.output.depth}"
            case "POOL":
                text = f"POOL {self.size}×{self.size}"
            case "FC":
                return f"FC {self.output.depth}"
            case _:
                return self.kind
        default_stride = self.size if self.kind == "POOL" else 1
        text += f" stride {self.stride}" if self.stride != default_stride else ""
        return text + (f" pad {self.padding}" if self.padding else "")


@dataclass(frozen=True)
class Architecture:
    """A parsed formula: `layers` starts with INPUT and has the groups expanded."""

    formula: str
    layers: tuple[Layer, ...]

    @property
    def input(self) -> Volume:
        return self.layers[0].output

    @property
    def output(self) -> Volume:
        return self.layers[-1].output

    @cached_property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @cached_property
    def multiply_adds(self) -> int:
        """Multiply-adds per image."""
        return sum(layer.multiply_adds for layer in self.layers)

    def require_classifier(self, input: Volume, classes: int) -> None:
        """Raises FormulaError unless the network takes `input` and ends in one neuron per class."""
        if self.input != input:
            raise FormulaError(f"expected INPUT {input}, the size of the images; got INPUT {self.input}")
        if self.layers[-1].kind != "FC" or self.output.depth != classes:
            raise FormulaError(f"expected FC {classes} as the last layer, one neuron per class; got {self.layers[-1]}")


def parse(formula: str) -> Architecture:
    """Parses a formula. Raises FormulaError, which shows the position and what was expected there.

    `×` is accepted for `x` and `→` for `->`; case does not matter; N, M and K may be 0.
    """
    return Architecture(formula, tuple(_Parser(formula).layers()))


@dataclass(frozen=True)
class _Token:
    text: str
    position: int


@dataclass(frozen=True)
class _Item:
    """A layer as written; its sizes are not yet checked against the layer before it."""

    kind: str
    numbers: tuple[int, ...]
    options: dict[str, int]
    position: int


_TOKEN = re.compile(r"->|[\[\]*]|[A-Za-z]+|\d+(?:[xX]\d+)*|\S")
_SIZES = {
    "INPUT": (3, "INPUT WxHxD, for example INPUT 28x28x1"),
    "CONV": (3, "CONV FxFxK, for example CONV 3x3x16"),
    "POOL": (2, "POOL FxF, for example POOL 2x2"),
    "FC": (1, "FC n, for example FC 10"),
    "RELU": (0, "RELU"),
}
_OPTIONS = {"CONV": ("STRIDE", "PAD"), "POOL": ("STRIDE",)}


class _Parser:
    """Recursive descent over `sequence := element (-> element)*`, `element := layer | [ sequence ] * n`."""

    def __init__(self, formula: str) -> None:
        self.shown = " ".join(formula.replace("→", "->").replace("×", "x").split())
        self.tokens = [_Token(found.group(), found.start()) for found in _TOKEN.finditer(self.shown)]
        self.next = 0

    def error(self, message: str, position: int | None = None) -> FormulaError:
        if position is None:
            position = self.peek().position
        return FormulaError(f"{message}\n  {self.shown}\n  {' ' * position}^")

    def peek(self) -> _Token:
        return self.tokens[self.next] if self.next < len(self.tokens) else _Token("", len(self.shown))

    def take(self) -> _Token:
        token = self.peek()
        self.next += 1
        return token

    def layers(self) -> list[Layer]:
        items = self.sequence()
        if self.peek().text:
            raise self.error(f"expected -> or the end; got {self.peek().text!r}")
        return self.sized(items)

    def sequence(self, depth: int = 0) -> list[_Item]:
        items = self.element(depth)
        while self.peek().text == "->":
            self.take()
            items += self.element(depth)
            if len(items) > MAXIMUM_LAYERS:
                raise self.error(f"expected at most {MAXIMUM_LAYERS} layers")
        return items

    def element(self, depth: int) -> list[_Item]:
        if self.peek().text != "[":
            return [self.layer()]
        if depth == 20:
            raise self.error("expected groups nested at most 20 deep")
        self.take()
        items = self.sequence(depth + 1)
        if self.peek().text != "]":
            raise self.error(f"expected -> or ] to close the group; got {self.got()}")
        self.take()
        if self.peek().text != "*":
            raise self.error(f"expected *n after the group, its number of repetitions; got {self.got()}")
        self.take()
        count = self.number("a whole number of repetitions")
        if len(items) * count > MAXIMUM_LAYERS:
            raise self.error(f"expected at most {MAXIMUM_LAYERS} layers", self.tokens[self.next - 1].position)
        return items * count

    def got(self) -> str:
        return repr(self.peek().text) if self.peek().text else "the end"

    def number(self, expected: str) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", self.peek().text):
            raise self.error(f"expected {expected}; got {self.got()}")
        return int(self.take().text)

    def layer(self) -> _Item:
        token = self.peek()
        kind = token.text.upper()
        if kind not in _SIZES:
            raise self.error(f"expected INPUT, CONV, RELU, POOL, FC or [; got {self.got()}")
        self.take()
        count, expected = _SIZES[kind]
        numbers: tuple[int, ...] = ()
        if count:
            text = self.peek().text.lower()
            if not re.fullmatch("x".join([r"[0-9]{1,6}"] * count), text):
                raise self.error(f"expected {expected}; got {self.got()}")
            numbers = tuple(int(number) for number in text.split("x"))
            if 0 in numbers:
                raise self.error(f"expected {expected}, every size 1 or more; got {text!r}")
            if kind in ("CONV", "POOL") and numbers[0] != numbers[1]:
                raise self.error(f"expected a square window, {expected}; got {text!r}")
            self.take()
        options: dict[str, int] = {}
        while (option := self.peek().text.upper()) in _OPTIONS.get(kind, ()):
            if option in options:
                raise self.error(f"expected {option.lower()} once")
            self.take()
            options[option] = self.number(f"a whole number after {option.lower()}")
            if option == "STRIDE" and options[option] == 0:
                raise self.error("expected a stride of 1 or more; got 0", self.tokens[self.next - 1].position)
        return _Item(kind, numbers, options, token.position)

    def sized(self, items: list[_Item]) -> list[Layer]:
        if not items or items[0].kind != "INPUT":
            raise self.error("expected INPUT first", items[0].position if items else 0)
        image = Volume(*items[0].numbers)
        layers = [Layer("INPUT", image, image, (1, 1), jump=1)]
        for number, item in enumerate(items[1:], start=1):
            before = layers[-1]
            volume, (seen, _), jump, start = before.output, before.receptive_field, before.jump, before.start
            match item.kind:
                case "INPUT":
                    raise self.error("expected INPUT only once, at the start", item.position)
                case "RELU":
                    layers.append(Layer("RELU", volume, volume, before.receptive_field, jump=jump, start=start))
                case "FC":
                    layers.append(Layer("FC", volume, Volume(1, 1, *item.numbers), (image.width, image.height)))
                case _:
                    if any(layer.kind == "FC" for layer in layers):
                        raise self.error(f"expected FC or RELU after FC; got {item.kind}", item.position)
                    size = item.numbers[0]
                    stride = item.options.get("STRIDE", size if item.kind == "POOL" else 1)
                    padding = item.options.get("PAD", 0)
                    output = Volume(
                        self.slid(volume.width, size, stride, padding, number, item),
                        self.slid(volume.height, size, stride, padding, number, item),
                        item.numbers[2] if item.kind == "CONV" else volume.depth,
                    )
                    seen += (size - 1) * jump
                    start -= padding * jump
                    layers.append(
                        Layer(item.kind, volume, output, (seen, seen), size, stride, padding, jump * stride, start)
                    )
        return layers

    def slid(self, before: int, size: int, stride: int, padding: int, number: int, item: _Item) -> int:
        """The output's width or height, (W1 - F + 2P)/S + 1."""
        steps, rest = divmod(before - size + 2 * padding, stride)
        if steps >= 0 and rest == 0:
            return steps + 1
        text = "x".join(map(str, item.numbers))
        problem = "is not a whole number" if steps >= 0 else "leaves no room for the window"
        formula = f"({before} - {size} + 2*{padding})/{stride} + 1"
        raise self.error(f"layer {number}, {item.kind} {text}: the output size {formula} {problem}", item.position)
