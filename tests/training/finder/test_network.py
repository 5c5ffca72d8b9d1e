import pytest
import torch

from training.finder.network import Finder, fold_batch_norm, normalized


@pytest.mark.parametrize(("height", "width"), [(128, 128), (48, 128), (16, 16)])
def test_shapes(height: int, width: int) -> None:
    maps = Finder()(torch.randn(2, 1, height, width))
    assert maps.ink.shape == (2, height, width)
    assert maps.heat.shape == maps.sizes.shape == (2, height // 4, width // 4)
    assert maps.offsets.shape == (2, 2, height // 4, width // 4)


def test_every_place_sees_the_whole_frame() -> None:
    torch.manual_seed(0)
    images = torch.randn(1, 1, 128, 128, requires_grad=True)
    Finder().eval()(images).heat[0, 0, 0].backward()
    assert images.grad is not None
    assert images.grad[0, 0, -16:].abs().sum() > 0


def test_folding_batch_norm_changes_nothing() -> None:
    torch.manual_seed(0)
    network = Finder()
    network(torch.randn(8, 1, 64, 64))  # gives batch norm its statistics
    images = torch.randn(2, 1, 64, 64)
    expected = network.eval()(images)
    for one, other in zip(expected, fold_batch_norm(network)(images), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_contrast_and_brightness_are_normalized_away() -> None:
    images = torch.rand(2, 32, 32)
    torch.testing.assert_close(normalized(images), normalized(0.5 * images + 0.2), rtol=0.2, atol=0.1)
    assert not normalized(torch.ones(1, 16, 16)).any()
