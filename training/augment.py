"""Random variations of a batch of digits, made on tensors, a different one for each image."""

import math

import torch
from torch import Tensor
from torch.nn import functional

ROTATION = math.radians(15)
SCALE = 0.12
SHEAR = 0.25
SHIFT = 2 / 14  # two pixels, in the grid's units of half an image
ELASTIC = 0.05  # standard deviation of the displacements, in the same units
ELASTIC_GRID = 6
# The part of the images whose strokes are made broader or thinner, and by how much of a pixel on every side.
THICKNESS_SHARE, BROADER, THINNER = 0.5, 1.0, 0.7


def augment(images: Tensor) -> Tensor:
    """Warps each image at random and makes its strokes broader or thinner.

    Takes and gives float32 [N, 1, H, W]. Draws from PyTorch's global generator.
    """
    return _change_thickness(_warp(images))


def _change_thickness(images: Tensor) -> Tensor:
    count, device = len(images), images.device
    change = (torch.rand(count, 1, 1, 1, device=device) * 2 - 1) * (
        torch.rand(count, 1, 1, 1, device=device) < THICKNESS_SHARE
    )
    broadest = functional.max_pool2d(images, 3, stride=1, padding=1)
    thinnest = -functional.max_pool2d(-images, 3, stride=1, padding=1)
    broader = change.clamp(min=0) * BROADER * (broadest - images)
    return images + broader + (-change).clamp(min=0) * THINNER * (thinnest - images)


def _warp(images: Tensor) -> Tensor:
    """A rotation, scale, shear, shift and smooth elastic field, a different one for each image."""
    count, device = len(images), images.device

    def uniform(limit: float, *shape: int) -> Tensor:
        return (torch.rand(count, *shape, device=device) * 2 - 1) * limit

    angle, shear = uniform(ROTATION), uniform(SHEAR)
    scale_x, scale_y = 1 + uniform(SCALE), 1 + uniform(SCALE)
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Rows of rotation · shear · scale; the inverse direction (output to input) is as random as the forward one.
    matrix = torch.stack(
        [
            torch.stack([cos * scale_x, (cos * shear - sin) * scale_y, uniform(SHIFT)], dim=1),
            torch.stack([sin * scale_x, (sin * shear + cos) * scale_y, uniform(SHIFT)], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    coarse = torch.randn(count, 2, ELASTIC_GRID, ELASTIC_GRID, device=device) * ELASTIC
    field = functional.interpolate(coarse, size=images.shape[2:], mode="bicubic", align_corners=True)
    return functional.grid_sample(images, grid + field.permute(0, 2, 3, 1), align_corners=False)
