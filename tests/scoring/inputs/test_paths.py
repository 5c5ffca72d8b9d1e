import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scoring.errors import ScoringError
from scoring.inputs import paths as files
from scoring.inputs.paths import check_paths, find_files


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(*paths: str | Path) -> list[str]:
    return list(find_files(map(str, paths), lambda path: path.endswith(".png")))


def below(folder: Path, *paths: str) -> list[str]:
    return [os.path.relpath(path, folder) for path in found(*(folder / path for path in paths))]


def test_folders_are_searched_recursively_in_a_fixed_order(tmp_path: Path) -> None:
    make(tmp_path, "b.png", "a/2.png", "a/1.png", "a/deep/er/x.png", "a/notes.txt", "z.png", ".png", "B.PNG.png")
    expected = [".png", "B.PNG.png", "b.png", "z.png", "a/1.png", "a/2.png", "a/deep/er/x.png"]
    assert below(tmp_path, "") == expected
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "linked.png").symlink_to(tmp_path / "a" / "deep")
    assert below(tmp_path, "") == expected


def test_named_files_keep_their_order(tmp_path: Path) -> None:
    make(tmp_path, "scan", "[1].png")
    paths = [str(tmp_path / "scan"), str(tmp_path / "[1].png"), str(tmp_path / "gone")]
    assert found(*paths) == paths


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("*.png", ["1.png"]),
        ("*", ["1.png"]),
        ("*/*.png", ["a/2.png", "b/2.png"]),
        ("a/*", ["a/2.png"]),
        ("**/*.png", ["1.png", "a/2.png", "a/deep/3.png", "b/2.png"]),
        ("**", ["1.png", "a/2.png", "a/deep/3.png", "b/2.png"]),
        ("a/**/3.png", ["a/deep/3.png"]),
        ("**/deep/**", ["a/deep/3.png"]),
        ("[a-b]/?.png", ["a/2.png", "b/2.png"]),
        ("[!a]/*", ["b/2.png"]),
        (".*/*.png", [".hidden/4.png"]),
        ("**/.*.png", [".5.png"]),
        ("a/2.pn[g]", ["a/2.png"]),
    ],
)
def test_globs_match_as_in_a_shell(
    glob: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "1.png", "a/2.png", "a/deep/3.png", "b/2.png", ".hidden/4.png", ".5.png")
    assert below(tmp_path, glob) == expected
    monkeypatch.chdir(tmp_path)
    assert [os.path.normpath(path) for path in found(glob)] == expected


def test_glob_matches_files_of_any_suffix(tmp_path: Path) -> None:
    make(tmp_path, "1.dat", "2.png")
    assert below(tmp_path, "*.dat") == ["1.dat"]


def test_glob_searches_only_folders_that_can_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/1.png", "a/deep/2.png")
    scandir = os.scandir

    def watched(path: str) -> object:
        assert not path.endswith("deep")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", watched)
    assert below(tmp_path, "*/*.png") == ["a/1.png"]


def test_large_folders_are_listed_in_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WINDOW", 10)
    listed = 0

    class Entry:
        def __init__(self, number: int) -> None:
            self.name = f"{number:09d}.png"

        def is_dir(self, follow_symlinks: bool) -> bool:
            return False

        def is_symlink(self) -> bool:
            return False

    class Listing:
        def __enter__(self) -> Iterator[Entry]:
            def entries() -> Iterator[Entry]:
                nonlocal listed
                for number in range(10**9):
                    listed += 1
                    yield Entry(number)

            return entries()

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(os, "scandir", lambda _: Listing())
    images = find_files([str(tmp_path)], lambda _: True)
    assert [Path(next(images)).name for _ in range(15)] == [f"{number:09d}.png" for number in range(15)]
    assert listed == 20


def test_unreadable_folder_is_returned_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/1.png", "b/1.png", "c/1.png")
    scandir = os.scandir

    def forbidden(path: str) -> object:  # root, which runs some of the tests, may search every folder
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    assert below(tmp_path, "") == ["a/1.png", "b", "c/1.png"]


def test_missing_paths_are_errors(tmp_path: Path) -> None:
    make(tmp_path, "1.png")
    (tmp_path / "dangling").symlink_to("nowhere")
    check_paths([str(tmp_path), str(tmp_path / "*.png"), str(tmp_path / "dangling")])
    for path in ("2.png", "*.jpg"):
        with pytest.raises(ScoringError, match="no such file or folder, and no file matches it"):
            check_paths([str(tmp_path), str(tmp_path / path)])
