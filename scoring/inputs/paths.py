"""The files that paths, folders and globs stand for, found lazily, however many there are."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import islice, takewhile
from pathlib import PurePath

from digits.folders import is_junk
from scoring.errors import ScoringError
from scoring.extras import storage

# How many entries of a folder are sorted at a time.
WINDOW = 10_000
_GLOB = re.compile(r"[*?[]")
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def find_files(
    paths: Iterable[str], wanted: Callable[[str], bool], skip: Callable[[str], None] = lambda _: None
) -> Iterator[str]:
    """Files that are named or match a glob, and the wanted files below folders. Calls `skip` with each junk file.

    This includes what cannot be read, such as broken links and folders without permission. Linked folders are not
    followed. A folder's files come before those of its subfolders, sorted by name within each WINDOW of entries.
    """
    for path in paths:
        if is_folder(path):
            yield from _walk(path, wanted, skip)
        elif _GLOB.search(path) and not _exists(path):
            yield from _matching(path, skip)
        else:
            yield path


def check_paths(paths: Iterable[str]) -> None:
    """Raises ScoringError for a path or glob that matches nothing; later, it would be one error row among many."""
    for path in paths:
        if not _exists(path) and not (_GLOB.search(path) and next(_matching(path, lambda _: None), None)):
            raise ScoringError(f"{path}: no such file or folder, and no file matches it")


def is_remote(path: str) -> bool:
    """Whether a path is a URL, such as `s3://…`."""
    return _REMOTE.match(path) is not None


def is_folder(path: str) -> bool:
    """Whether a path is a folder or a link to one. Raises ScoringError if the store cannot tell."""
    return bool(storage().is_folder(path)) if is_remote(path) else os.path.isdir(path)


def _exists(path: str) -> bool:
    return bool(storage().exists(path)) if is_remote(path) else os.path.lexists(path)


def _matching(glob: str, skip: Callable[[str], None]) -> Iterator[str]:
    scheme = _REMOTE.match(glob)
    store = scheme.group() if scheme else ""
    parts = PurePath(glob[len(store) :]).parts
    plain = list(takewhile(lambda part: not _GLOB.search(part), parts))
    root, patterns = store + os.path.join("", *plain), parts[len(plain) :]
    start = len(os.path.join(root, ""))
    return _walk(
        root or os.curdir,
        lambda path: _matches((path if root else path[2:])[start:].split(os.sep), patterns),
        skip,
        None if "**" in patterns else len(patterns),
    )


def _matches(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Matches as a shell does: `**` is any number of folders, and hidden names match only a pattern with their dot."""
    if not names or not patterns:
        return not names and all(one == "**" for one in patterns)
    shown = not names[0].startswith(".") or patterns[0].startswith(".")
    if patterns[0] == "**":
        return _matches(names, patterns[1:]) or (shown and _matches(names[1:], patterns))
    return shown and fnmatchcase(names[0], patterns[0]) and _matches(names[1:], patterns[1:])


def _walk(
    top: str, wanted: Callable[[str], object], skip: Callable[[str], None], depth: int | None = None
) -> Iterator[str]:
    pending = [(top, _entries(top))]
    while pending:
        folder, entries = pending[-1]
        entry = next(entries, None)
        if entry is None:
            pending.pop()
        elif isinstance(entry, str):
            if is_junk(os.path.basename(entry)):
                skip(entry)
            elif depth is None or len(pending) < depth:
                pending.append((entry, _entries(entry)))
        else:
            for path in entry:
                if is_junk(os.path.basename(path)):
                    skip(path)
                elif path == folder or wanted(path):
                    yield path


def _entries(folder: str) -> Iterator[list[str] | str]:
    """A folder's files in lists, and its subfolders; the folder itself, as a file, if it cannot be read."""
    if is_remote(folder):
        yield from storage().entries(folder)
        return
    start = os.path.join(folder, "")
    try:
        with os.scandir(folder) as listing:
            while window := list(islice(listing, WINDOW)):
                folders = {one.name for one in window if one.is_dir(follow_symlinks=False)}
                linked = {one.name for one in window if one.is_symlink() and one.is_dir()}
                files = sorted(one.name for one in window if one.name not in folders and one.name not in linked)
                yield list(map(start.__add__, files))
                yield from map(start.__add__, sorted(folders))
    except OSError:
        yield [folder]
