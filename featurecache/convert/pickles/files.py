"""Pickles of NumPy arrays, as the reference keeps its features: {"feats": (N, D), "labels": (N,), "idxs": (N,)}."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

from featurecache.convert.blocks import flat, table_blocks
from featurecache.convert.columns import Block
from featurecache.convert.pickles.machine import unpickled
from featurecache.disk import open_regular
from featurecache.layout import shown as shown_path


def matches(path: Path) -> bool:
    """Whether it is a pickle, by its name."""
    return path.suffix.lower() in (".pkl", ".pickle") and not path.is_dir()


def read(path: Path, names: Mapping[str, str]) -> Iterator[Block]:
    """Blocks of the arrays in a pickle; nothing in it is run.

    path: a dictionary of arrays, or of such dictionaries (train/feats). names: our names -> its.
    ValueError when it is damaged or holds anything but plain values and NumPy arrays.
    """
    try:
        with open_regular(path) as file:
            if not file.seek(0, 2):
                raise ValueError("is empty")
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        root = unpickled(data)
    except ValueError as error:
        raise ValueError(f"{shown_path(path)}: {error}") from None
    yield from table_blocks(flat(root, path), names, path)
