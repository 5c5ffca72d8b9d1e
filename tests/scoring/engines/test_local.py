import os
import shutil
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from digits.decode import GreyImage, ImageError
from digits.settings import ModelSettings
from scoring.engines import local
from scoring.engines.local import IMAGE_SECONDS, LocalEngine, _Task, _Worker
from scoring.errors import ScoringError
from scoring.inputs.images import Chunk, Content
from scoring.inputs.search import find_chunks
from scoring.rows import IMAGES, Row
from tests.helpers.images import example_pixels
from tests.helpers.paths import EXAMPLES, VERSION

SHIPPED = ModelSettings().model_path.parent

BLANK = np.zeros((9, 9), np.uint8)
SETTINGS = ModelSettings(provider="cpu")


@dataclass(frozen=True)
class Trap(Chunk):
    """Images whose content says what happens to the process that decodes them."""

    def load(self, index: int) -> GreyImage:
        content = self.contents[index]
        if content == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if content == "exit":
            os._exit(3)
        if content == "hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            time.sleep(1000)
        if isinstance(content, str) and content.startswith("once"):
            with Path(content.partition(" ")[2]).open("a+") as file:
                if not file.tell():
                    file.write("was here")
                    file.flush()
                    os.kill(os.getpid(), signal.SIGKILL)
        return GreyImage(BLANK)


def score(chunks: Iterable[Chunk], image_seconds: float = IMAGE_SECONDS) -> list[Row]:
    with LocalEngine(SETTINGS, 2, image_seconds) as engine:
        return list(IMAGES.read(one.text for one in engine.score(chunks)))


def test_examples() -> None:
    rows = score(find_chunks([str(EXAMPLES)]))
    assert [(Path(row.path).name, row.digit) for row in rows] == [(f"{digit}.png", digit) for digit in range(10)]
    assert all(row.confidence is not None and row.confidence > 0.5 and row.error is row.reason is None for row in rows)
    assert {row[5:7] for row in rows} == {("digits", VERSION)}


def test_every_image_has_its_row_in_order() -> None:
    contents: list[Content] = [example_pixels(3), ImageError("expected better"), BLANK]
    chunks = (
        Chunk([f"{chunk}.{index}" for index in range(size)], [contents[(chunk + index) % 3] for index in range(size)])
        for chunk, size in enumerate([1, 250, 0, 7, 256, 3])
    )
    rows = score(chunks)
    assert [row.path for row in rows] == [
        f"{chunk}.{index}" for chunk, size in enumerate([1, 250, 0, 7, 256, 3]) for index in range(size)
    ]
    said = {0: (3, None, None), 1: (None, None, "expected better"), 2: (None, "blank", None)}
    for row in rows:
        chunk, index = map(int, row.path.split("."))
        assert (row.digit, row.reason, row.error) == said[(chunk + index) % 3]


def test_images_are_found_lazily() -> None:
    taken = 0

    def chunks() -> Iterator[Chunk]:
        nonlocal taken
        while True:
            taken += 1
            yield Chunk([str(taken)], [BLANK])

    with LocalEngine(SETTINGS, processes=1) as engine:
        scores = engine.score(chunks())
        next(scores)
        assert taken < 10


def test_image_that_kills_its_process_becomes_an_error_row() -> None:
    contents = ["fine", "crash", "fine", "hang", "exit", "fine"]
    rows = score([Trap(list("abcdef"), contents), Trap(["g"], ["fine"])], image_seconds=0.3)
    assert [row.path for row in rows] == list("abcdefg")
    assert [row.error for row in rows] == [
        None,
        "expected an image that can be decoded; it ended the process by SIGSEGV",
        None,
        "expected an image that can be decoded; it took longer than 0.3 s",
        "expected an image that can be decoded; it ended the process by exit code 3",
        None,
        None,
    ]
    assert [row.reason for row in rows if row.error is None] == ["blank"] * 4


def test_killed_process_loses_no_rows(tmp_path: Path) -> None:
    contents = ["fine", f"once {tmp_path / 'a'}", "fine", f"once {tmp_path / 'b'}"]
    rows = score([Trap(list("abcd"), contents)])
    assert [(row.path, row.error) for row in rows] == [(name, None) for name in "abcd"]
    assert (tmp_path / "a").exists()


def test_idle_process_that_is_killed_loses_no_rows() -> None:
    with LocalEngine(SETTINGS, processes=1) as engine:

        def chunks() -> Iterator[Chunk]:
            for name in "abc":
                engine._workers[0].process.kill()  # while it is idle
                engine._workers[0].process.join()
                yield Chunk([name], [BLANK])

        assert [one.text[:2] for one in engine.score(chunks())] == [b"a,", b"b,", b"c,"]


def test_processes_that_keep_dying_between_images_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalEngine(SETTINGS, processes=1) as engine:

        def doomed(worker: _Worker, task: _Task) -> None:
            worker.tasks.append(task)
            worker.process.kill()

        monkeypatch.setattr(_Worker, "give", doomed)
        with pytest.raises(ScoringError, match=r"a and the images after it: .* by SIGKILL each time"):
            list(engine.score([Chunk(["a"], [BLANK])]))


def test_no_process_outlives_the_engine() -> None:
    with LocalEngine(SETTINGS, processes=2) as engine:
        processes = [worker.process.pid for worker in engine._workers]
        assert len(set(processes)) == 2
    for process in processes:
        assert process is not None
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_model_stays_the_same_during_a_run(tmp_path: Path) -> None:
    versions = tmp_path / "digits"
    shutil.copytree(SHIPPED, versions / "2")
    with LocalEngine(ModelSettings(model=versions), processes=1) as engine:
        assert engine.model.version == "2"
        shutil.copytree(SHIPPED, versions / "3")
        engine._workers[0].process.kill()
        assert b",digits,2," in next(engine.score([Chunk(["a"], [BLANK])])).text
        finder = onnx.load(versions / "2" / "finder.onnx")
        finder.producer_name = "another"
        onnx.save(finder, versions / "2" / "finder.onnx")
        engine._workers[0].process.kill()
        with pytest.raises(ScoringError, match=r"the model changed from digits 2 .* to digits 2 "):
            next(engine.score([Chunk(["a"], [BLANK])]))


def test_process_killed_during_startup_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    deaths = iter([True, True, False, False])

    class Unlucky(_Worker):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            if next(deaths):
                self.process.kill()

    monkeypatch.setattr(local, "_Worker", Unlucky)
    with LocalEngine(SETTINGS, processes=2) as engine:
        assert b"blank" in next(engine.score([Chunk(["a"], [BLANK])])).text
    deaths = iter([True] * 9)
    with pytest.raises(ScoringError, match="processes cannot be started: each was ended by SIGKILL"):
        LocalEngine(SETTINGS, processes=1).__enter__()


def test_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "1")
    (tmp_path / "1" / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ScoringError, match=r"expected an ONNX model; got a file that ONNX Runtime cannot load\."):
        LocalEngine(ModelSettings(model=tmp_path)).__enter__()
