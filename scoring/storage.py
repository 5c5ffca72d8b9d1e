"""Remote files, such as `s3://bucket/folder/1.png`, by PyArrow's file systems. Needs PyArrow."""

import errno
import os
import re
from collections.abc import Iterator
from functools import cache

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType

from scoring.errors import ScoringError

_KINDS = {FileNotFoundError: errno.ENOENT, PermissionError: errno.EACCES}
# How object stores report it.
_DENIED = re.compile(r"ACCESS_DENIED|HTTP status 403|forbidden", re.IGNORECASE)


def locate(path: str) -> tuple[FileSystem, str]:
    """A path's file system, and the path in it. Raises ScoringError if there is no such file system.

    What follows the bucket or host is taken literally, including `?`, `#` and `%`.
    """
    scheme, _, rest = path.partition("://")
    authority, _, inner = rest.partition("/")
    system, root = _connect(f"{scheme}://{authority}/")
    return system, f"{root.rstrip('/')}/{inner}".rstrip("/") or "/"


@cache
def _connect(root: str) -> tuple[FileSystem, str]:
    try:
        return FileSystem.from_uri(root)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise ScoringError(f"{root}: expected s3, gs, abfs, hdfs or file, and access to it; got: {reason}") from error


def open_file(path: str) -> pa.NativeFile:
    """Opens a file for random access. Raises OSError, with the system's error number if the cause has one."""
    system, inner = locate(path)
    try:
        return system.open_input_file(inner)
    except OSError as error:
        raise plain(error) from error


def plain(error: OSError) -> OSError:
    """A file system's error as the operating system would report it."""
    number = error.errno or _KINDS.get(type(error)) or (errno.EACCES if _DENIED.search(str(error)) else None)
    return OSError(number, os.strerror(number)) if number else OSError(errno.EIO, str(error).partition("\n")[0])


def exists(path: str) -> bool:
    """Whether there is a file or folder of that name. Raises ScoringError if the store cannot tell."""
    return bool(_information(path).type != FileType.NotFound)


def is_folder(path: str) -> bool:
    """Whether there is a folder of that name. Raises ScoringError if the store cannot tell."""
    return bool(_information(path).type == FileType.Directory)


def _information(path: str) -> FileInfo:
    system, inner = locate(path)
    try:
        return system.get_file_info(inner)
    except OSError as error:
        raise ScoringError(f"{path}: cannot be read: {plain(error).strerror}") from error


def entries(folder: str) -> Iterator[list[str] | str]:
    """A folder's files in one list, and its subfolders; the folder itself, as a file, if it cannot be read."""
    system, inner = locate(folder)
    start = f"{folder.rstrip('/')}/"
    try:
        found = system.get_file_info(FileSelector(inner))
    except OSError:
        yield [folder]
        return
    folders = sorted(one.base_name for one in found if one.type == FileType.Directory)
    files = sorted(one.base_name for one in found if one.type != FileType.Directory)
    yield list(map(start.__add__, files))
    yield from map(start.__add__, folders)
