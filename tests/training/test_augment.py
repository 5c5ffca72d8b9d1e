import torch

from training.augment import augment


def test_augmented_images_differ_but_keep_their_ink() -> None:
    torch.manual_seed(0)
    image = torch.zeros(1, 1, 28, 28)
    image[..., 4:24, 12:16] = 1
    varied = augment(image.repeat(64, 1, 1, 1))
    assert varied.shape == (64, 1, 28, 28)
    assert varied.min() >= 0
    assert varied.max() <= 1
    assert (varied - image).abs().amax(dim=(1, 2, 3)).min() > 0.2  # every image has moved
    ink = varied.sum(dim=(1, 2, 3)) / image.sum()
    # Except the filtered ones, whose paper may turn grey or white.
    assert ((ink > 0.5) & (ink < 2)).float().mean() > 0.85


def test_augmentation_is_seeded() -> None:
    images = torch.rand(3, 1, 28, 28)
    torch.manual_seed(5)
    first = augment(images)
    torch.manual_seed(5)
    assert torch.equal(first, augment(images))


def test_only_a_few_images_are_disturbed_or_filtered() -> None:
    torch.manual_seed(0)
    image = torch.zeros(1, 1, 28, 28)
    image[..., 4:24, 12:16] = 1
    varied = augment(image.repeat(400, 1, 1, 1))
    border = varied[..., :2, :2].amax(dim=(1, 2, 3))  # black unless disturbed or filtered
    assert 0.02 < (border > 0.05).float().mean() < 0.3
