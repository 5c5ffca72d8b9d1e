"""What decides a network's weights, besides data and seed: hyperparameters, presets, the mix of training images."""

from dataclasses import dataclass, replace

FORMULA = (
    "INPUT 28x28x1 -> [CONV 3x3x16 -> RELU]*2 -> POOL 2x2 -> [CONV 3x3x48 -> RELU]*2 -> POOL 2x2"
    " -> [CONV 3x3x96 pad 1 -> RELU]*2 -> FC 10"
)
QUICK_FORMULA = (
    "INPUT 28x28x1 -> CONV 4x4x16 stride 2 pad 1 -> RELU -> [CONV 3x3x32 -> RELU]*2 -> POOL 2x2"
    " -> [CONV 3x3x64 pad 1 -> RELU]*2 -> FC 10"
)


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters. SGD with Nesterov momentum; the learning rate warms up linearly, then follows a cosine to 0."""

    formula: str = FORMULA  # the network, in the language of training/formula.py
    epochs: int = 40  # passes over the training images
    batch_size: int = 256  # images per step; what is left of an epoch is skipped
    learning_rate: float = 0.2  # the peak, at the end of the warm-up
    warmup_epochs: int = 2  # at most half of the epochs
    momentum: float = 0.9
    weight_decay: float = 5e-4  # on weights only, not on biases and batch norm
    label_smoothing: float = 0.1  # share of the target spread evenly over the classes
    dropout: float = 0.3  # before every FC layer
    weight_average: float = 0.995  # decay of the exponential moving average of the weights, which is what is exported
    start_share: float = 0.0  # share of the starting weights in the final ones (WiSE-FT, Wortsman et al. 2022)
    batch_norm: bool = True  # after every CONV layer; folded into it at export
    teacher_share: float = 0.0  # share of the loss that is the distance to a teacher's outputs
    teacher_temperature: float = 4.0  # divides both networks' logits in that distance


# The shipped network from random weights.
SHIPPED = Recipe()
# A smaller network in about a minute, on the labelled images alone.
QUICK = Recipe(formula=QUICK_FORMULA, epochs=9, dropout=0.0)
# Trained weights, new kinds of images: fewer epochs, batch norm again. Made the shipped version 3 from version 2.
RETRAIN = Recipe(epochs=8, learning_rate=0.1, warmup_epochs=1, label_smoothing=0.05, dropout=0.0)
# Trained weights, one writer or camera: small steps, and a quarter of the starting weights kept so that little is lost.
FINE_TUNE = Recipe(epochs=10, learning_rate=0.02, warmup_epochs=1, dropout=0.0, start_share=0.25, batch_norm=False)
# From a teacher, whose outputs say more than labels, smoothed or not.
DISTILL = Recipe(label_smoothing=0.0, dropout=0.0, teacher_share=0.8)
RETRAIN_DISTILL = replace(RETRAIN, label_smoothing=0.0, teacher_share=0.8)

# Generated images per labelled image: 10,000, 20,000, 16,000 and 8,000 for MNIST's 55,000.
SYNTHETIC_SHARE, NEGATIVE_SHARE = 10 / 55, 20 / 55
PHOTO_SHARE, SYNTHETIC_PHOTO_SHARE = 16 / 55, 8 / 55
# How often each digit of the pen strokes is drawn and photographed, each time with another pen.
STROKE_DRAWINGS, STROKE_PHOTOS = 4, 2
# An epoch of fine-tuning: the writer's images, repeated until there are this many, with MNIST and negatives mixed in.
WRITER_IMAGES, WRITER_MNIST, WRITER_NEGATIVES = 5_000, 8_000, 2_000
