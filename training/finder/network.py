"""The finder's network: an image → which pixels are a digit's ink, and where the centre of each pixel's digit lies.

A small U-Net (Ronneberger, Fischer, Brox 2015) whose outputs follow Panoptic-DeepLab (Cheng et al. 2020): ink by pixel;
by cell of 4×4 pixels a heat map of the digits' centres, the way from the cell to its own digit's centre, and that
digit's size. It is fully convolutional: an image may have any height and width that are multiples of 16.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

# Images are normalized by their mean and standard deviation. This is added to the latter, relative to white, so that
# the noise of a blank page is not blown up.
LEAST_DEVIATION = 0.02
# Units of the offsets and sizes that the network gives, in pixels.
OFFSET_UNIT, SIZE_UNIT = 32, 32


class Maps(NamedTuple):
    """What the network gives for N images of H×W, all float32.

    `ink` [N, H, W] and `heat` [N, H/4, W/4] are logits. `offsets` [N, 2, H/4, W/4] are the ways down and right to the
    centre in OFFSET_UNIT; `sizes` [N, H/4, W/4] the binary logarithms of the digits' longer sides in SIZE_UNIT.
    """

    ink: Tensor
    heat: Tensor
    offsets: Tensor
    sizes: Tensor


@dataclass(frozen=True)
class Widths:
    """The number of channels at a half, a quarter, an eighth and a sixteenth of the image's size.

    Multiples of 16: ONNX Runtime's fast convolutions on CPUs take no others.
    """

    half: int = 16
    quarter: int = 32
    eighth: int = 64
    sixteenth: int = 96


class Finder(nn.Module):
    """Takes normalized images, float32 [N, 1, H, W], and gives Maps."""

    def __init__(self, widths: Widths | None = None) -> None:
        super().__init__()
        widths = widths or Widths()
        half, quarter, eighth, sixteenth = widths.half, widths.quarter, widths.eighth, widths.sixteenth
        self.to_half = _convolution(1, half, 4, stride=2)
        self.to_quarter = _convolution(half, quarter, stride=2)
        self.to_eighth = nn.Sequential(_convolution(quarter, eighth, stride=2), _convolution(eighth, eighth))
        # Dilated, so that every place sees the whole of a frame of 128×128.
        self.to_sixteenth = nn.Sequential(
            _convolution(eighth, sixteenth, stride=2),
            _convolution(sixteenth, sixteenth),
            _convolution(sixteenth, sixteenth, dilation=2),
            _convolution(sixteenth, sixteenth, dilation=4),
        )
        self.back_to_eighth = Joint(sixteenth, eighth)
        self.back_to_quarter = Joint(eighth, quarter)
        # Most of the time would go into 3×3 weights at this size.
        self.back_to_half = Joint(quarter, half, is_separable=True)
        self.ink = nn.Conv2d(half, 4, 1)  # one for each of the 2×2 pixels
        self.places = nn.Sequential(_separable_convolution(quarter), nn.Conv2d(quarter, 4, 1))

    def forward(self, images: Tensor) -> Maps:
        half = self.to_half(images)
        quarter = self.to_quarter(half)
        eighth = self.to_eighth(quarter)
        eighth = self.back_to_eighth(self.to_sixteenth(eighth), eighth)
        quarter = self.back_to_quarter(eighth, quarter)
        ink = functional.pixel_shuffle(self.ink(self.back_to_half(quarter, half)), 2).float()
        places = self.places(quarter).float()
        return Maps(ink[:, 0], places[:, 0], places[:, 1:3], places[:, 3])


class Joint(nn.Module):
    """Coarse maps enlarged twice, joined with the finer maps of that size."""

    def __init__(self, coarse: int, fine: int, *, is_separable: bool = False) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(coarse, fine, 1)
        self.join = _separable_convolution(fine) if is_separable else _convolution(fine, fine)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        enlarged = functional.interpolate(self.reduce(coarse), scale_factor=2.0, mode="nearest")
        joined: Tensor = self.join(functional.relu(enlarged + fine))
        return joined


def _convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = (size - 1) // 2 * dilation
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _separable_convolution(channels: int) -> nn.Sequential:
    """3×3 weights for each map by itself, then 1×1 across them."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def normalized(images: Tensor) -> Tensor:
    """Images float32 [N, H, W], 0 to 1 → what the network takes, [N, 1, H, W]."""
    mean = images.mean(dim=(1, 2), keepdim=True)
    deviation = images.std(dim=(1, 2), keepdim=True, correction=0)
    return ((images - mean) / (deviation + LEAST_DEVIATION))[:, None]


@torch.no_grad()
def fold_batch_norm(network: Finder) -> Finder:
    """The same function without batch norm: each becomes part of the convolution before it. Changes the network."""
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.Sequential) and len(module) > 2 and isinstance(module[-2], nn.BatchNorm2d):
            convolution = module[-3]
            assert isinstance(convolution, nn.Conv2d)
            module[-3], module[-2] = nn.utils.fuse_conv_bn_eval(convolution, module[-2]), nn.Identity()
    return network
