"""Random variations of a batch of digits, made on tensors, a different one for each image."""

import math
from collections.abc import Callable
from functools import cache

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
# The part of the images that each of the disturbances is made to, and the part that is filtered.
DISTURBED, FILTERED = 0.12, 0.08
# The largest part erased, by pixels on each side of its middle; the strongest noise; how far contrast is bent.
ERASED, NOISE, BENT = 3.5, 0.25, 0.7


def augment(images: Tensor) -> Tensor:
    """Warps each image at random, makes its strokes broader or thinner, and disturbs or filters a few.

    Takes and gives float32 [N, 1, H, W], 0 to 1. Draws from PyTorch's global generator.
    """
    images = _change_thickness(_warp(images))
    for change in (_erase, _erase, _blur, _add_noise, _change_contrast):
        images = _change_some(images, DISTURBED, change)
    return _change_some(images, FILTERED, _filter)


def _change_some(images: Tensor, share: float, change: Callable[[Tensor], Tensor]) -> Tensor:
    chosen = torch.rand(len(images), device=images.device) < share
    if not chosen.any():
        return images
    changed = images.clone()
    changed[chosen] = change(images[chosen]).clamp(0, 1)
    return changed


def _each(images: Tensor) -> Tensor:
    """A random number, 0 to 1, for each image, [N, 1, 1, 1]."""
    return torch.rand(len(images), 1, 1, 1, device=images.device)


def _erase(images: Tensor) -> Tensor:
    """Fills a small rectangle, mostly with black."""
    inside = torch.ones_like(images, dtype=torch.bool)
    for axis in (2, 3):
        size = images.shape[axis]
        place = torch.arange(size, device=images.device).view([-1 if one == axis else 1 for one in range(4)])
        inside &= (place - _each(images) * size).abs() < 1 + _each(images) * (ERASED - 1)
    return torch.where(inside, _each(images) * (_each(images) < 0.3), images)


def _blur(images: Tensor) -> Tensor:
    """Softens or sharpens."""
    row = torch.tensor([0.25, 0.5, 0.25], device=images.device)
    soft = functional.conv2d(images, torch.outer(row, row)[None, None], padding=1)
    return soft + (images - soft) * 2 * _each(images)


def _add_noise(images: Tensor) -> Tensor:
    return images + torch.randn_like(images) * _each(images) * NOISE


def _change_contrast(images: Tensor) -> Tensor:
    bent = images.clamp(min=1e-4) ** torch.exp((_each(images) * 2 - 1) * BENT)
    return bent * (0.6 + 0.4 * _each(images))


def _filter(images: Tensor) -> Tensor:
    """Mixes each image with what a random filter makes of it (Xu et al. 2021, "Random convolutions").

    So the network reads shapes, whatever the ink, its edges and the paper look like.
    """
    count, size = len(images), (1, 3, 5)[int(torch.randint(3, ()))]
    filters = torch.randn(count, 1, size, size, device=images.device)
    filtered = functional.conv2d(images.transpose(0, 1), filters, padding=size // 2, groups=count).transpose(0, 1)
    low, high = filtered.amin(dim=(2, 3), keepdim=True), filtered.amax(dim=(2, 3), keepdim=True)
    return torch.lerp(images, (filtered - low) / (high - low).clamp(min=1e-6), _each(images))


def _change_thickness(images: Tensor) -> Tensor:
    count, device = len(images), images.device
    change = (torch.rand(count, 1, 1, 1, device=device) * 2 - 1) * (
        torch.rand(count, 1, 1, 1, device=device) < THICKNESS_SHARE
    )
    broader = change.clamp(min=0) * BROADER * (_of_neighbours(images, torch.maximum) - images)
    return images + broader + (-change).clamp(min=0) * THINNER * (_of_neighbours(images, torch.minimum) - images)


def _of_neighbours(images: Tensor, choose: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The largest or smallest of each pixel and its eight neighbours, in a third of the time that pooling takes."""
    for axis in (2, 3):
        last = images.shape[axis] - 1
        padded = torch.cat([images.narrow(axis, 0, 1), images, images.narrow(axis, last, 1)], dim=axis)
        before, after = padded.narrow(axis, 0, last + 1), padded.narrow(axis, 2, last + 1)
        images = choose(choose(before, images), after)
    return images


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
    rows, columns = (_bicubic(ELASTIC_GRID, size).to(device) for size in images.shape[2:])
    field = rows @ coarse @ columns.T
    return functional.grid_sample(images, grid + field.permute(0, 2, 3, 1), align_corners=False)


@cache
def _bicubic(coarse: int, fine: int) -> Tensor:
    """The matrix, [fine, coarse], of bicubic interpolation: a product with it takes a ninth of `interpolate`'s time."""
    line = torch.eye(coarse)[None, :, :, None]
    return functional.interpolate(line, size=(fine, 1), mode="bicubic", align_corners=True)[0, :, :, 0].T
