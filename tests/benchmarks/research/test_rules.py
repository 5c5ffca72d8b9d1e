from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.research import rules
from benchmarks.research.rules import OFF, main, rendered_sources
from tests.helpers.images import example


@pytest.mark.parametrize("name", OFF)
def test_disabled_rule_has_another_constant(name: str) -> None:
    assert all(getattr(module, constant) != value for module, constant, value in OFF[name])


def test_table_has_rules_by_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "OFF", {"several digits": OFF["several digits"]})
    monkeypatch.setattr(rules, "rendered_sources", lambda _: {"several digits": rendered_sources(2)["several digits"]})
    (tmp_path / "a").mkdir()
    for digit in (1, 2):
        (tmp_path / "a" / f"{digit}.png").write_bytes(example(digit))
    (tmp_path / "labels.csv").write_text("file,label\na/1.png,1\na/2.png,3\n")
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        "| without | a (2) | several digits (2) |",
        "|---|---|---|",
        "| (all rules) | 1 | 2 |",
        "| several digits |  | -2 |",
    ]
