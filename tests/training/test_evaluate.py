from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from digits.recognizer import Recognizer
from digits.settings import ModelSettings
from tests.helpers.images import write_idx
from training.commands import main
from training.datasets.mnist import load_test
from training.evaluate import Results, evaluate


@pytest.fixture(scope="module")
def results() -> Results:
    return Results(np.array([0, 1, 1, 9]), np.array([0, 1, 7, -1]), np.array([0.9, 0.8, 0.7, 0.1]))


def test_accuracy_and_confusion_matrix(results: Results) -> None:
    assert results.accuracy == 0.5
    assert results.confusion[1].tolist() == [0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0]
    assert results.confusion[9, 10] == 1
    assert "50.00% accuracy (2 of 4" in results.summary()


def test_shipped_model_reaches_the_accuracy_in_its_metadata(recognizer: Recognizer) -> None:
    results = evaluate(recognizer, load_test())
    assert results.count == int(recognizer.classifier.metadata["test_images"])
    # Rounding differs between processors, which may flip a borderline digit or two.
    assert abs(results.correct - int(recognizer.classifier.metadata["test_correct"])) <= 3
    assert results.accuracy >= 0.996
    assert int(recognizer.classifier.metadata["multiply_adds"]) <= 8_000_000


def test_command_evaluates_a_model_and_draws_the_report(tmp_path: Path) -> None:
    data = load_test()
    write_idx(tmp_path / "t10k-images-idx3-ubyte", data.images[:100])
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", data.labels[:100])
    report = tmp_path / "report"
    result = CliRunner().invoke(main, ["evaluate", "--data", str(tmp_path), "--report", str(report)])
    assert result.exit_code == 0, result.output
    assert "of 100; 95 % interval" in result.output
    assert str(ModelSettings().model_path) in result.output
    assert {path.name for path in report.iterdir()} == {
        "learning-curve.png",
        "confusion-matrix.png",
        "worst-mistakes.png",
        "filters.png",
        "feature-maps.png",
        "summary.txt",
    }


def test_command_reports_a_missing_model(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["evaluate", "--model", str(tmp_path / "none.onnx")])
    assert result.exit_code == 2
    assert "No such file" in result.output
