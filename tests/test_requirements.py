import re
import tomllib

import pytest

from digits import __version__
from tests.helpers.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
PINNED = re.compile(r"([A-Za-z0-9._-]+)(?:\[.*\])?==([^ ;\\]+)")


def pins(lines: list[str]) -> set[tuple[str, str]]:
    """Names, as PyPI writes them, and versions."""
    found = (PINNED.match(line) for line in lines)
    return {(re.sub(r"[._-]+", "-", one[1]).lower(), one[2]) for one in found if one}


def lines_of(name: str) -> list[str]:
    return (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("build", PROJECT["build-system"]["requires"]),
        ("serve", PROJECT["project"]["dependencies"] + EXTRAS["cpu"]),
        ("cuda", PROJECT["project"]["dependencies"] + EXTRAS["cuda"]),
        ("ray", sum((EXTRAS[one] for one in ("cpu", "ray")), PROJECT["project"]["dependencies"])),
        ("test", sum((EXTRAS[one] for one in ("cpu", "training", "test")), PROJECT["project"]["dependencies"])),
    ],
)
def test_what_is_asked_for_is_locked_in_that_version_and_all_with_hashes(name: str, asked: list[str]) -> None:
    assert len(pins(asked)) == len(asked)
    torch = {one for one in pins(asked) if one[0] == "torch"}
    assert pins(asked) - torch <= pins(lines_of(name))
    assert torch <= pins(lines_of("torch"))
    for package in re.split(r"\n(?=\w)", "\n".join(lines_of(name))):
        assert PINNED.match(package), package
        assert "--hash=sha256:" in package, package


def test_what_is_tested_is_what_is_served() -> None:
    assert pins(lines_of("serve")) <= pins(lines_of("test"))
    tested = dict(pins(lines_of("test")))
    assert all(tested.get(name, version) == version for name, version in pins(lines_of("ray")))
    others = pins(lines_of("serve")) - {one for one in pins(lines_of("serve")) if one[0] == "onnxruntime"}
    assert others <= pins(lines_of("cuda"))


def test_the_container_is_labelled_with_this_version() -> None:
    assert f'image.version="{__version__}"' in (ROOT / "Dockerfile").read_text(encoding="utf-8")
