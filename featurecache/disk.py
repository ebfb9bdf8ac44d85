"""The file operations of the cache, all of them, so that tests can replace them and inject faults.

The protocol of a file that must be whole or absent: write it under a temporary name in the same folder, flush it to
the disk, rename it, flush the folder. A rename without the flushes survives a killed process but not a power cut.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
PART = ".part"  # the ending of temporary names: a file called so is never read


def part_name(path: Path) -> Path:
    """The temporary name of a file that is being written."""
    return path.with_name(path.name + PART)


def allocate(file: int, size: int) -> None:
    """Reserve `size` bytes for the open file, so that a full disk is found before the work begins."""
    try:
        os.posix_fallocate(file, 0, size)
    except (AttributeError, OSError) as error:
        # Some file systems (and macOS) cannot reserve; they grow as they are written.
        if isinstance(error, OSError) and error.errno not in UNSUPPORTED:
            raise
        os.ftruncate(file, size)


def write_at(file: int, data: memoryview | bytes, offset: int) -> None:
    """Write all of `data` at `offset`; one call may write less than asked."""
    view = memoryview(data).cast("B")
    while len(view):
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def publish(part: Path, final: Path) -> None:
    """Give a whole file its final name, durably."""
    flush(part)
    os.replace(part, final)
    flush(final.parent)


def flush(path: Path) -> None:
    """Wait until a file's data, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(final: Path) -> Iterator[Path]:
    """A temporary name to write to; the file appears under its final name when the block ends without an error."""
    part = part_name(final)
    try:
        yield part
        publish(part, final)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write plain JSON, whole or not at all."""
    with replacing(path) as part:
        part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def open_regular(path: Path | str) -> BinaryIO:
    """The file opened for reading, never waiting for a pipe.

    path: anything.
    Raises ValueError when it is not a regular file or cannot be a path, OSError when it cannot be opened.
    """
    flag = getattr(os, "O_NONBLOCK", 0)
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | flag))  # noqa: SIM115 (handed out)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError("it is not a regular file")
    return file


def read_head(path: Path, size: int) -> bytes:
    """The first `size` bytes of a regular file (fewer if it is shorter); OSError for anything else."""
    try:
        file = open_regular(path)
    except ValueError as error:
        raise OSError(f"{path}: not a regular file") from error
    with file:
        return file.read(size)
