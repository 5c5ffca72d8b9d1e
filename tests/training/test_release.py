import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from tests.helpers.paths import ROOT
from tests.helpers.processes import environment
from training.release import Stages

# Everything, as little as possible of it.
SMALL = """
import sys
from pathlib import Path
import training.export
from training.datasets import generated
from training.finder import pages
from training.finder.network import Widths
from training.finder.train import Recipe as FinderRecipe
from training.recipes import Recipe
from training.release import Plan, make_everything

if __name__ == "__main__":
    generated.CHUNK, pages.SHARD = 10, 4
    training.export.generate_unseen_negatives = lambda: generated.generate_unseen_negatives(20)
    plan = Plan(
        pages=8,
        validation_pages=4,
        finder=FinderRecipe(Widths(8, 8, 8, 8), steps=4, batch_size=2, warmup_steps=1, steps_per_checkpoint=2),
        images={"pen_strokes": 20, "negative": 20},
        classifier=Recipe("INPUT 28x28x1 -> CONV 4x4x8 stride 4 -> RELU -> FC 10", epochs=2, batch_size=1000),
        seeds=2,
    )
    directory = Path(sys.argv[1])
    make_everything(plan, directory / "run", directory / "models", 7)
"""


def files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


def test_finished_stage_is_skipped_and_an_interrupted_one_resumed(tmp_path: Path) -> None:
    calls: list[list[Path]] = []

    def make(folder: Path, fail: bool = False) -> None:
        calls.append(files(folder))
        (folder / "part").touch()
        if fail:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path).run("pages", 1, lambda folder: make(folder, fail=True))
    Stages(tmp_path).run("pages", 1, make)
    Stages(tmp_path).run("pages", 1, make)
    assert calls == [[Path("begun")], [Path("begun"), Path("part")]]


def test_stage_of_another_recipe_is_made_again_and_so_is_what_follows(tmp_path: Path) -> None:
    made: list[tuple[str, int]] = []

    def run(first: int, second: int) -> None:
        stages = Stages(tmp_path)
        for name, recipe in (("pages", first), ("finder", second)):
            stages.run(name, recipe, lambda folder, name=name, recipe=recipe: made.append((name, recipe)))  # type: ignore[misc]

    for recipes in ((1, 1), (1, 1), (1, 2), (2, 2)):
        run(*recipes)
    assert made == [("pages", 1), ("finder", 1), ("finder", 2), ("pages", 2), ("finder", 2)]


def release(directory: Path, seconds: float = 600) -> int:
    """The exit code of the small release, killed with all its processes after so many seconds."""
    script = directory / "release.py"
    directory.mkdir(exist_ok=True)
    script.write_text(SMALL)
    process = subprocess.Popen(
        [sys.executable, script, directory], cwd=ROOT, env=environment(PYTHONPATH=str(ROOT)), start_new_session=True
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def constants(path: Path) -> list[onnx.TensorProto]:
    return list(onnx.load(path).graph.initializer)


@pytest.mark.kills
def test_killed_release_ends_with_the_same_files(tmp_path: Path) -> None:
    assert release(tmp_path / "whole") == 0
    chance = random.Random(0)
    kills = 0
    while kills < 12 and release(tmp_path / "killed", chance.uniform(4, 16)) != 0:
        kills += 1
    assert release(tmp_path / "killed") == 0
    models = [tmp_path / name / "models" for name in ("whole", "killed")]
    assert files(models[0]) == files(models[1])
    for name in ("7/model.onnx", "7/finder.onnx"):
        one, other = ([constant.SerializeToString() for constant in constants(folder / name)] for folder in models)
        assert one == other
    assert not list(tmp_path.rglob("*.partial"))
