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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
PART = ".part"  # the ending of temporary names: a file called so is never read

# What changes the disk: the calls that a test may fail, tear or stop at.


def create(path: Path) -> int:
    """A new empty file, open for reading and writing; what was there is gone."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)


def create_or_keep(path: Path) -> int:
    """A file, open for reading and writing; it is made where it is not there, else what is in it stays."""
    return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)


def allocate(file: int, size: int) -> None:
    """Reserve `size` bytes for the open file, so that a full disk is found before the work begins."""
    try:
        os.posix_fallocate(file, 0, size)
    except (AttributeError, OSError) as error:
        # Some file systems (and macOS) cannot reserve; they grow as they are written.
        if isinstance(error, OSError) and error.errno not in UNSUPPORTED:
            raise
        os.ftruncate(file, size)


def truncate(file: int, size: int) -> None:
    """Cut the open file to `size` bytes."""
    os.ftruncate(file, size)


def write_at(file: int, data: memoryview | bytes, offset: int) -> None:
    """Write all of `data` at `offset`; one call may write less than asked."""
    view = memoryview(data).cast("B")
    while len(view):
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def sync(file: int) -> None:
    """Wait until the open file's data are on the disk."""
    getattr(os, "fdatasync", os.fsync)(file)


def sync_folder(path: Path) -> None:
    """Wait until a folder's names are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNSUPPORTED:  # some network disks keep no folder to flush
            raise
    finally:
        os.close(handle)


def rename(old: Path, new: Path) -> None:
    """Give a file another name in its folder; a file of that name is replaced."""
    os.replace(old, new)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    path.unlink(missing_ok=True)


def add_folder(path: Path) -> None:
    """Make a folder in one that is there; one of that name is left alone."""
    path.mkdir(exist_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder, if it is there and empty."""
    try:
        path.rmdir()
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


# What is made of them, and what only reads.


def make_folder(path: Path) -> None:
    """Make a folder and those above it, durably; one that is there is left alone."""
    there = path.is_dir()
    if not there:
        make_folder(path.parent)
        add_folder(path)
    try:
        sync_folder(path.parent)  # also where it is there: its maker may have been stopped before this
    except PermissionError:
        if not there:
            raise


def part_name(path: Path) -> Path:
    """The temporary name of a file that is being written."""
    return path.with_name(path.name + PART)


def publish(part: Path, final: Path) -> None:
    """Give a whole file its final name, durably."""
    handle = os.open(part, os.O_RDONLY)
    try:
        sync(handle)
    finally:
        os.close(handle)
    rename(part, final)
    sync_folder(final.parent)


@contextmanager
def replacing(final: Path, own: str = "") -> Iterator[Path]:
    """A temporary name to write to; the file appears under its final name when the block ends without an error.

    own: what no other process puts into the name; needed where no lock keeps them apart.
    """
    part = part_name(final.with_name(final.name + own))
    try:
        yield part
        publish(part, final)
    except BaseException:
        with suppress(OSError):
            remove(part)
        raise


def name_file(error: BaseException, path: Path) -> None:
    """Let an error of an open file say which one it is about; the system does not."""
    if isinstance(error, OSError) and error.errno is not None and error.filename is None:
        error.filename = str(path)


def write_bytes(path: Path, data: bytes, own: str = "") -> None:
    """Write a small file, whole or not at all. own: see `replacing`."""
    with replacing(path, own) as part:
        handle = create(part)
        try:
            write_at(handle, data, 0)
        finally:
            os.close(handle)


def write_json(path: Path, value: Any, own: str = "") -> None:
    """Write plain JSON, whole or not at all. own: see `replacing`."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode(), own)


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


def opened(path: Path) -> BinaryIO:
    """A regular file opened for reading; OSError for anything else."""
    try:
        return open_regular(path)
    except ValueError as error:
        raise OSError(f"{path}: not a regular file") from error


def size_of(file: BinaryIO) -> int:
    """Bytes of an open file."""
    return os.fstat(file.fileno()).st_size


def read_head(path: Path, size: int) -> bytes:
    """The first `size` bytes of a regular file (fewer if it is shorter); OSError for anything else."""
    with opened(path) as file:
        return file.read(min(size, size_of(file)))  # room is made for all that is asked for


def read_at(file: int, buffer: memoryview, offset: int) -> int:
    """Fill the buffer from `offset`; how many bytes there were."""
    done = 0
    while done < len(buffer):
        count = os.preadv(file, [buffer[done:]], offset + done)
        if not count:
            break
        done += count
    return done
