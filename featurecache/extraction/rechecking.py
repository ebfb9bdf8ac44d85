"""Is the model that goes on with a cache the one that began it? Its weights may be the same and its code not."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurecache import disk, layout
from featurecache.shards.header import Header, read_header
from featurecache.writer import committed_blocks

# The same model on the same images repeats its features to the last bits, or nearly so on other hardware.
TOLERANCE = 0.01  # of the largest of them


def check_first_batch(cache: Path, split: str, features: NDArray[Any], readable: NDArray[np.bool_]) -> None:
    """ValueError when the cache holds other features for the first batch of a split than the ones just computed.

    features: (B, D). readable: (B,), the rows that count; in the cache one of them may be zeros, if it could not be
    read then. Nothing is said where the cache does not hold that batch, or holds one of another size.
    """
    stored = _stored(layout.shard_path(cache, split, 0))
    if stored is None or stored.shape != features.shape:
        return
    both = readable & stored.any(axis=1)
    stored, features = stored[both], features[both]
    if not len(stored):
        return
    off = float(np.abs(stored.astype(np.float64) - features).max())
    largest = float(np.abs(stored).max())
    if off > TOLERANCE * largest:
        raise ValueError(
            f"{cache}: for the first batch of {split} this model gives other features than are stored (up to {off:.3g} "
            f"apart, the largest is {largest:.3g}): the model's code or the images were changed since; extract into "
            "another folder, or delete this one"
        )


def _stored(final: Path) -> NDArray[Any] | None:
    """The features of a shard's first block, finished or committed; None where they are not what was written."""
    for path in (final, disk.part_name(final)):
        try:
            header = read_header(path)
            names = list(header.data)
            crcs = _written(path, header) if path == final else committed_blocks(final, header).get(0)
            data = _read(path, *header.span("features", 0))
        except (OSError, ValueError):  # damage is found, and mended or said, where the shard is gone on with
            continue
        if crcs is not None and zlib.crc32(data) == crcs[names.index("features")]:
            column = header.columns["features"]
            return np.frombuffer(data, column.dtype).reshape(-1, column.shape[1])
    return None


def _written(path: Path, header: Header) -> tuple[int, ...]:
    """The checksums of a finished shard's first block."""
    column = header.columns["crc"]
    row = _read(path, column.offset, column.nbytes // column.shape[0])
    return tuple(np.frombuffer(row, column.dtype).tolist())


def _read(path: Path, start: int, length: int) -> bytearray:
    buffer = bytearray(length)
    with disk.opened(path) as file:
        disk.read_at(file.fileno(), memoryview(buffer), start)
    return buffer
