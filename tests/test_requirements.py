import re
import tomllib
from itertools import chain

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from digits import __version__
from tests.helpers.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REQUIRED, EXTRAS = PROJECT["project"]["dependencies"], PROJECT["project"]["optional-dependencies"]
PINNED = re.compile(r"([A-Za-z0-9._-]+)==([^ ;\\]+)")


def pins(lines: list[str]) -> set[tuple[str, str]]:
    """Names, as PyPI writes them, and versions."""
    found = (PINNED.match(line) for line in lines)
    return {(canonicalize_name(one[1]), one[2]) for one in found if one}


def lines_of(name: str) -> list[str]:
    return (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("name", "required"),
    [
        ("build", PROJECT["build-system"]["requires"]),
        ("serve", [*REQUIRED, *EXTRAS["cpu"]]),
        ("cuda", [*REQUIRED, *EXTRAS["cuda"]]),
        ("ray", [*REQUIRED, *EXTRAS["cpu"], *EXTRAS["ray"]]),
        ("test", [*REQUIRED, *EXTRAS["cpu"], *EXTRAS["parquet"], *EXTRAS["training"], *EXTRAS["test"]]),
    ],
)
def test_requirements_are_locked_with_hashes(name: str, required: list[str]) -> None:
    locked = pins(lines_of(name))
    for requirement in map(Requirement, required):
        candidates = pins(lines_of("torch")) if requirement.name == "torch" else locked
        versions = [version for package, version in candidates if package == canonicalize_name(requirement.name)]
        assert any(requirement.specifier.contains(version) for version in versions), requirement
    for package in re.split(r"\n(?=\w)", "\n".join(lines_of(name))):
        assert PINNED.match(package), package
        assert "--hash=sha256:" in package, package


def test_dependencies_are_ranges_from_the_locked_version_to_the_next_major_one() -> None:
    groups = [REQUIRED, *(EXTRAS[extra] for extra in EXTRAS if extra != "test")]
    locked = set.union(*(pins(lines_of(name)) for name in ("serve", "cuda", "ray", "test", "torch")))
    for requirement in map(Requirement, chain.from_iterable(groups)):
        bounds = {one.operator: one.version for one in requirement.specifier}
        assert bounds.keys() == {">=", "<"}, requirement
        assert (canonicalize_name(requirement.name), bounds[">="]) in locked
        assert bounds["<"] == str(int(bounds[">="].split(".")[0]) + 1)


def test_what_is_tested_is_what_is_served() -> None:
    assert pins(lines_of("serve")) <= pins(lines_of("test"))
    tested = dict(pins(lines_of("test")))
    assert all(tested.get(name, version) == version for name, version in pins(lines_of("ray")))
    others = pins(lines_of("serve")) - {one for one in pins(lines_of("serve")) if one[0] == "onnxruntime"}
    assert others <= pins(lines_of("cuda"))


def test_the_container_is_labelled_with_this_version() -> None:
    assert f'image.version="{__version__}"' in (ROOT / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.xdist_group("one process")
def test_pytest_and_xdist_keep_groups_in_one_process(request: pytest.FixtureRequest) -> None:
    """They share ports, container images and a cluster. With pytest 9.2.0, xdist 3.8.0 forgot the groups."""
    if getattr(request.config.option, "loadgroup", False):
        assert request.node.nodeid.endswith("@one process")
