"""HDF5 files of any layout, in and out.

A stranger's file is given to the HDF5 library in another process alone (child.py), and only for what it
holds and where; the numbers are read here from those places, without the library.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import h5py

from featurecache import disk, layout
from featurecache.convert.blocks import as_block, block_rows
from featurecache.convert.child import Child
from featurecache.convert.columns import ALIASES, Block, find_columns
from featurecache.convert.hdf5.listing import Found, parse_listing
from featurecache.convert.hdf5.rows import read_at, rows_of
from featurecache.convert.hdf5.text import FixedText, HeapText
from featurecache.convert.rows import columns_of, cut, save_head
from featurecache.quoting import shown
from featurecache.reader import FeatureCache

SIGNATURE = b"\x89HDF\r\n\x1a\n"
ENDINGS = (".h5", ".hdf5", ".hdf")
CHILD = Path(__file__).with_name("child.py")
ENVIRONMENT = {"HDF5_PLUGIN_PRELOAD": "::", "HDF5_USE_FILE_LOCKING": "FALSE"}  # the first: no plug-in is ever loaded

_UNSEEN = " (it holds more: of names not in --map, the first 1000 were looked at, 8 levels deep)"

Column: TypeAlias = Callable[[int, int], Any]  # (start, stop) -> those rows


def matches(path: Path) -> bool:
    """Whether it is one HDF5 file, by its name."""
    return path.suffix.lower() in ENDINGS and not path.is_dir()


def read(path: Path, names: Mapping[str, str]) -> Iterator[Block]:
    """Blocks of the rows of an HDF5 file.

    path: the file. names: our columns -> theirs, in groups as in train/feats; what is not named is recognised.
    ValueError in one line, naming the dataset and the reason, when it cannot be read; OSError when it cannot be opened.
    """
    with _naming(path):
        if importlib.util.find_spec("resource") is None:
            raise ValueError(
                "HDF5 files are read in a process with limits, which this system does not have; convert it on Linux or "
                "macOS, or have its maker's program write .npz"
            )
        file = disk.open_regular(path)
    with file:
        size = os.fstat(file.fileno()).st_size
        with _naming(path):
            _check_signature(file, size)
        rows, row_bytes, columns = _columns(file, size, names, path)
        for start, stop in pairwise((*range(0, rows, block_rows(row_bytes)), rows)):
            with _naming(path):
                raw = {ours: column(start, stop) for ours, column in columns.items()}
            yield as_block(raw, path)


def save(cache: FeatureCache, folder: Path) -> list[Path]:
    """One file a split, SPLIT.h5: its columns as root datasets, the sample ids as text of any length; and the head.

    cache: whose splits are complete. folder: exists and is empty.
    """
    files = []
    for split in cache:
        columns = columns_of(cache[split])
        files.append(folder / f"{split}.h5")
        with disk.replacing(files[-1]) as part, h5py.File(part, "w", libver=("earliest", "v110")) as file:
            start = 0
            for name, values in columns.items():
                kind = h5py.string_dtype() if name == "sample_id" else values.dtype
                file.create_dataset(name, values.shape, kind)
            for block in cut(columns):
                stop = start + len(block["index"])
                for name, values in block.items():
                    file[name][start:stop] = values.astype(object) if name == "sample_id" else values
                start = stop
    return files + save_head(cache, folder)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file before what a ValueError says."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{layout.shown(path)}: {error}") from None


def _check_signature(file: BinaryIO, size: int) -> None:
    """ValueError unless the file says that it is HDF5, at its beginning or after a user block."""
    at = 0
    while at + len(SIGNATURE) <= size:
        if read_at(file.fileno(), len(SIGNATURE), at) == SIGNATURE:
            return
        at = max(512, 2 * at)
    raise ValueError(f"not an HDF5 file ({size} bytes without its signature)")


def _columns(file: BinaryIO, size: int, names: Mapping[str, str], path: Path) -> tuple[int, int, dict[str, Column]]:
    """(rows, bytes of a row, our name -> its rows): what the file holds, what of it is meant, and where that lies."""
    names = {ours: theirs.strip("/") for ours, theirs in names.items()}
    with _naming(path):
        child = Child(CHILD, file, library="HDF5", environment=ENVIRONMENT)
    with child:
        with _naming(path):
            child.tell([theirs for theirs in names.values() if theirs])
            said = child.line()
            found, base = parse_listing(said)
            _check_strange(found, names)
        there = {name: each.stored.shape for name, each in found.items() if not each.refused}
        try:
            chosen = find_columns(there, names, path)
        except ValueError as error:
            raise ValueError(f"{error}{_UNSEEN if said.get('more') else ''}") from None
        with _naming(path):
            _check_kinds({ours: found[theirs] for ours, theirs in chosen.items()})
            child.tell(list(chosen.values()))
            stored = {ours: found[theirs].filled(child, file.fileno(), size) for ours, theirs in chosen.items()}
    row_bytes = sum(each.row_bytes for each in stored.values())
    with _naming(path):
        rows = {ours: _column(found[theirs], stored[ours], base) for ours, theirs in chosen.items()}
    return stored["features"].shape[0], row_bytes, rows


def _check_strange(found: Mapping[str, Found], names: Mapping[str, str]) -> None:
    """ValueError when a column that is asked for, or would be recognised, is there only as something not read."""
    for ours, aliases in ALIASES.items():
        meant = [
            name
            for name in found
            if (name == names[ours] if ours in names else name.rsplit("/", 1)[-1].lower() in aliases)
        ]
        strange = [name for name in meant if found[name].refused]
        if strange and len(strange) == len(meant):
            raise ValueError(
                f"{ours}: dataset {shown(strange[0])} is not read: {found[strange[0]].refused}"
                + ("" if ours == "features" else f" (without it: --map {ours}=)")
            )


def _check_kinds(chosen: Mapping[str, Found]) -> None:
    """ValueError unless ids are text or integers, and everything else is numbers."""
    for ours, found in chosen.items():
        kind = found.stored.dtype.kind
        if ours == "sample_id" and kind == "f":
            raise ValueError(f"{ours}: {found.stored.what} holds floats; expected text or integers")
        if ours != "sample_id" and kind in "SV":
            raise ValueError(f"{ours}: {found.stored.what} holds text; expected numbers")


def _column(found: Found, stored: Any, base: int) -> Column:
    if found.is_heap:
        return HeapText(stored, base)
    if stored.dtype.kind == "S":
        return FixedText(stored, found.padding)
    return rows_of(stored)
