"""Random augmentation of a batch of digits on tensors, different for each image."""

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
# Share of images whose strokes are made broader or thinner, and by what part of a pixel on each side.
THICKNESS_SHARE, BROADER, THINNER = 0.5, 1.0, 0.7
# Share of images that each disturbance is applied to, and share that is filtered.
DISTURBED, FILTERED = 0.12, 0.08
# Half the largest erased rectangle's side in pixels; the strongest noise; the range of the gamma's logarithm.
ERASED, NOISE, GAMMA = 3.5, 0.25, 0.7


def augment(images: Tensor) -> Tensor:
    """Warps each image, makes strokes broader or thinner, and disturbs or filters a few images.

    float32 [N, 1, H, W], 0 to 1, to the same. Uses PyTorch's global random generator.
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
    curved = images.clamp(min=1e-4) ** torch.exp((_each(images) * 2 - 1) * GAMMA)
    return curved * (0.6 + 0.4 * _each(images))


def _filter(images: Tensor) -> Tensor:
    """Blends each image with a random convolution of itself (Xu et al. 2021), so that the network learns shapes rather
    than the look of ink, edges and paper.
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
    """Maximum or minimum over each pixel and its eight neighbours, three times as fast as pooling."""
    for axis in (2, 3):
        last = images.shape[axis] - 1
        padded = torch.cat([images.narrow(axis, 0, 1), images, images.narrow(axis, last, 1)], dim=axis)
        before, after = padded.narrow(axis, 0, last + 1), padded.narrow(axis, 2, last + 1)
        images = choose(choose(before, images), after)
    return images


def _warp(images: Tensor) -> Tensor:
    """Rotation, scale, shear, shift and a smooth elastic displacement field."""
    count, device = len(images), images.device

    def uniform(limit: float, *shape: int) -> Tensor:
        return (torch.rand(count, *shape, device=device) * 2 - 1) * limit

    angle, shear = uniform(ROTATION), uniform(SHEAR)
    scale_x, scale_y = 1 + uniform(SCALE), 1 + uniform(SCALE)
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Rotation · shear · scale; `affine_grid` maps output to input, and the inverse is as random as the map itself.
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
    """The matrix [fine, coarse] of bicubic interpolation; multiplying by it is nine times as fast as `interpolate`."""
    line = torch.eye(coarse)[None, :, :, None]
    return functional.interpolate(line, size=(fine, 1), mode="bicubic", align_corners=True)[0, :, :, 0].T
