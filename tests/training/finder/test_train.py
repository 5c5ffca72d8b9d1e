from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession

from training.datasets.mnist import DataError
from training.finder.export import export
from training.finder.network import OFFSET_UNIT, SIZE_UNIT, Maps, Widths
from training.finder.pages import PAGE, page
from training.finder.train import Batch, Pages, Recipe, Run, augment, find_centres, load_finder, loss_of, matched
from training.finder.writing import Writers

CPU = torch.device("cpu")
RECIPE = Recipe(Widths(8, 8, 8, 8), steps=4, batch_size=4, warmup_steps=1, steps_per_checkpoint=2)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, writers: Writers) -> Path:
    directory = tmp_path_factory.mktemp("pages")
    for part in ("training", "validation"):
        (directory / part).mkdir()
        random = np.random.default_rng(len(part))
        for number in range(2):
            np.save(directory / part / f"{number}.npy", np.stack([page(writers, random) for _ in range(10)]))
    return directory


def test_pages_are_counted_through_all_files(pages: Path) -> None:
    found = Pages(pages / "training")
    assert len(found) == 20
    records = found.take(np.arange(20))
    assert np.array_equal(records[13], np.load(pages / "training" / "1.npy")[3])


def test_missing_pages_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected pages"):
        Pages(tmp_path)


def test_interrupted_run_ends_with_the_same_weights(pages: Path, tmp_path: Path) -> None:
    whole = Run(RECIPE, 0, pages, tmp_path / "whole", CPU)
    whole.train()
    interrupted = Run(RECIPE, 0, pages, tmp_path / "interrupted", CPU)
    interrupted._train_some()
    interrupted._save()
    resumed = Run(RECIPE, 0, pages, tmp_path / "interrupted", CPU)
    assert resumed.step == 2
    resumed.train()
    for one, other in zip(whole.averaged.parameters(), resumed.averaged.parameters(), strict=True):
        assert torch.equal(one, other)
    assert "tight_iou" in whole.history[-1]


def test_checkpoint_of_another_recipe_is_an_error(pages: Path, tmp_path: Path) -> None:
    run = Run(RECIPE, 0, pages, tmp_path, CPU)
    run._save()
    with pytest.raises(DataError, match="recipe differ"):
        Run(replace(RECIPE, steps=6), 0, pages, tmp_path, CPU)


def test_exported_finder_computes_the_same(pages: Path, tmp_path: Path) -> None:
    run = Run(RECIPE, 0, pages, tmp_path, CPU)
    run.train()
    export(run.checkpoint, tmp_path / "finder.onnx")  # which checks it
    session = InferenceSession(tmp_path / "finder.onnx")
    assert [one.name for one in session.get_outputs()] == ["ink", "heat", "offsets", "sizes"]
    assert session.get_modelmeta().custom_metadata_map["name"] == "finder"
    assert load_finder(run.checkpoint).training is False


def test_perfect_maps_have_a_lower_loss_than_others(pages: Path) -> None:
    batch = Batch.of(Pages(pages / "training").take(np.arange(8)), CPU)
    assert batch.images.shape == (8, *PAGE["image"].shape)
    sizes = (batch.sizes.clamp(min=1) / SIZE_UNIT).log2()
    perfect = Maps(batch.ink.logit(1e-3), batch.heat.logit(1e-3), batch.offsets / OFFSET_UNIT, sizes)
    least = loss_of(perfect, batch, RECIPE)
    for name in Maps._fields:
        worse = perfect._replace(**{name: getattr(perfect, name) + 0.5})
        assert loss_of(worse, batch, RECIPE) > least


def test_augmented_images_stay_within_limits() -> None:
    torch.manual_seed(0)
    images = torch.rand(64, 16, 16)
    changed = augment(images)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert (
        5 < sum(bool(((1 - one) - other).abs().max() < 0.01) for one, other in zip(images, changed, strict=True)) < 20
    )


def test_one_centre_per_peak_of_heat() -> None:
    heat, sizes = torch.zeros(32, 32), torch.full((32, 32), 40.0)
    heat[10, 10], heat[10, 11], heat[12, 11], heat[20, 20], heat[25, 5] = 0.9, 0.8, 0.85, 0.7, 0.2
    found = find_centres(heat, sizes)
    assert found.tolist() == [[42, 42, 40], [82, 82, 40]]
    assert matched(found, np.array([[44, 44, 40], [50, 40, 40], [80, 80, 40]], np.float32)) == 2
    assert find_centres(torch.zeros(32, 32), sizes).shape == (0, 3)
