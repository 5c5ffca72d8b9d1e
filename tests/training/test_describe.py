import subprocess
import sys

from click.testing import CliRunner

from training.commands import main
from training.describe import describe
from training.formula import parse


def test_table_shows_volumes_and_parameter_sums() -> None:
    table = describe(parse("INPUT 32x32x3 -> CONV 5x5x6 -> RELU -> CONV 5x5x10 -> POOL 2x2 -> FC 10"))
    [line] = [line for line in table.splitlines() if line.startswith("CONV 5×5×6")]
    assert "28×28×6" in line
    assert "75·6 + 6 = 456" in line
    assert str(28 * 28 * 6 * 75) in line
    assert "24×24×10" in table
    assert "12×12×10" in table
    assert table.splitlines()[-1].split()[:2] == ["total", str(456 + 1510 + 14410)]


def test_command_prints_the_table() -> None:
    result = CliRunner().invoke(main, ["describe", "INPUT 28x28x1 -> FC 10"])
    assert result.exit_code == 0
    assert "784·10 + 10 = 7850" in result.output


def test_command_points_at_the_error() -> None:
    result = CliRunner().invoke(main, ["describe", "INPUT 28x28x1 -> FC ten"])
    assert result.exit_code == 2
    assert "expected FC n, for example FC 10; got 'ten'" in result.output


def test_command_does_not_need_torch() -> None:
    blocked = "import sys; sys.modules['torch'] = None; sys.argv = ['training', 'describe', 'INPUT 28x28x1 -> FC 10']"
    code = f"{blocked}; import runpy; runpy.run_module('training', run_name='__main__')"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
