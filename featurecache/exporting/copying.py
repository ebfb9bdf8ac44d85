"""Files and folders written again under another name: whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from featurecache import disk
from featurecache.exporting.model_folder import WEIGHTS, ModelFolder, member
from featurecache.quoting import shown

PIECE = 2**24  # bytes copied at a time


def copy_file(source: Path, target: Path) -> None:
    """Writes a regular file's bytes under another name; what is there is written over.

    source, target: their paths.
    Raises OSError when one of them cannot be read or written.
    """
    with disk.opened(source) as file:
        handle = disk.create(target)
        try:
            place = 0
            while piece := file.read(PIECE):
                disk.write_at(handle, piece, place)
                place += len(piece)
        except OSError as error:
            disk.name_file(error, target)
            raise
        finally:
            os.close(handle)


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """A folder of a temporary name to write to; it gets its final name when the block ends without an error.

    final: the name, which nothing has.
    Raises ValueError when the temporary name is taken.
    """
    part = disk.part_name(final)
    try:
        part.mkdir()
    except FileExistsError:
        raise ValueError(
            f"{shown(part)} is there, from an export that was stopped or is running still; remove it first"
        ) from None
    try:
        yield part
        _flush(part)
        disk.rename(part, final)
    except BaseException:
        with suppress(OSError):
            shutil.rmtree(part)
        raise
    disk.sync_folder(final.parent)


def files_to_copy(folder: ModelFolder) -> tuple[list[str], list[str]]:
    """The files beside the weights by their paths inside the folder, and those that stay behind.

    What stays behind are other weights of the model, which hold the old classifier and which nothing would load, and
    hidden folders (.git, .cache), which are about the old folder.

    folder: where the weights are.
    Raises ValueError when something in it is no regular file, or a link that leads out of it.
    """
    copied: list[str] = []
    left: list[str] = []
    for name in _files(folder.path, ""):
        (left if _is_left(folder, name) else copied).append(name)
    return copied, left


def _is_left(folder: ModelFolder, name: str) -> bool:
    return not folder.holds(name) and WEIGHTS.fullmatch(name.rpartition("/")[2]) is not None


def _files(root: Path, lead: str) -> Iterator[str]:
    """The paths of all files under a folder; links to folders are refused, as they may lead round in a circle."""
    for child in sorted((root / lead).iterdir()):
        name = f"{lead}{child.name}"
        if child.is_dir():
            if child.is_symlink():
                raise ValueError(f"{shown(child)} is a link to a folder; put the folder itself there, or take it out")
            if not child.name.startswith("."):
                yield from _files(root, f"{name}/")
        else:
            member(root, name)
            yield name


def _flush(folder: Path) -> None:
    """Waits until all that is in a folder is on the disk."""
    for child in folder.iterdir():
        if child.is_dir():
            _flush(child)
            continue
        handle = os.open(child, os.O_RDONLY)
        try:
            disk.sync(handle)
        finally:
            os.close(handle)
    disk.sync_folder(folder)
