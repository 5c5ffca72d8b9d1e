"""What decides a network's weights, besides data and seed: hyperparameters, presets, the mix of training images."""

from dataclasses import dataclass

# The version of the model that `make train` writes.
VERSION = 4
FORMULA = (
    "INPUT 28x28x1 -> CONV 5x5x16 -> RELU -> POOL 2x2 -> CONV 3x3x32 -> RELU -> CONV 3x3x48 -> RELU -> POOL 2x2"
    " -> CONV 3x3x64 pad 1 -> RELU -> CONV 3x3x80 pad 1 -> RELU -> CONV 3x3x96 -> RELU -> FC 10"
)
QUICK_FORMULA = (
    "INPUT 28x28x1 -> CONV 4x4x16 stride 2 pad 1 -> RELU -> [CONV 3x3x32 -> RELU]*2 -> POOL 2x2"
    " -> [CONV 3x3x64 pad 1 -> RELU]*2 -> FC 10"
)


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters. SGD with Nesterov momentum; the learning rate warms up linearly, then follows a cosine to 0."""

    formula: str = FORMULA  # the network, in the language of training/formula.py
    epochs: int = 60  # passes over the training images
    batch_size: int = 256  # images per step; what is left of an epoch is skipped
    learning_rate: float = 0.2  # the peak, at the end of the warm-up
    warmup_epochs: int = 2  # at most half of the epochs
    momentum: float = 0.9
    weight_decay: float = 5e-4  # on weights only, not on biases and batch norm
    label_smoothing: float = 0.0  # share of the target spread evenly over the classes
    dropout: float = 0.0  # before every FC layer
    weight_average: float = 0.995  # decay of the exponential moving average of the weights, which is what is exported
    start_share: float = 0.0  # share of the starting weights in the final ones (WiSE-FT, Wortsman et al. 2022)
    batch_norm: bool = True  # after every CONV layer; folded into it at export
    teacher_share: float = 0.0  # share of the loss that is the distance to a teacher's outputs
    teacher_temperature: float = 4.0  # divides both networks' logits in that distance


# The shipped network from random weights.
SHIPPED = Recipe()
# A smaller network in about a minute, on the labelled images alone.
QUICK = Recipe(formula=QUICK_FORMULA, epochs=9, label_smoothing=0.1)
# Trained weights, one writer or camera: small steps, and a quarter of the starting weights kept so that little is lost.
FINE_TUNE = Recipe(epochs=10, learning_rate=0.02, warmup_epochs=1, start_share=0.25, batch_norm=False)
# From a teacher, whose outputs say more than labels.
DISTILL = Recipe(teacher_share=0.8)

# How many images of each kind (training/datasets/generated.py) are generated for MNIST's 55,000, or in proportion.
GENERATED = {
    "photo": 16_000,
    "synthetic_digit": 10_000,
    "synthetic_photo": 8_000,
    "pen_strokes": 25_000,
    "pen_strokes_photo": 12_500,
    "one_digit_page": 24_000,
    "negative": 40_000,
}
# How many images without a digit, of kinds that are not trained on, `is_digit` is calibrated with.
UNSEEN_NEGATIVES = 4_000
# An epoch of fine-tuning: the writer's images, repeated until there are this many, with MNIST and negatives mixed in.
WRITER_IMAGES, WRITER_MNIST, WRITER_NEGATIVES = 5_000, 8_000, 2_000
