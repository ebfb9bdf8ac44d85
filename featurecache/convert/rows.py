"""What a cache holds, for those who write it elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurecache.convert.blocks import block_rows
from featurecache.disk import replacing
from featurecache.layout import HEAD_FILE
from featurecache.reader import FeatureCache
from featurecache.reading.split import Array, Split


def columns_of(split: Split) -> dict[str, Array]:
    """Features (N, D), logits (N, K) where they are stored, labels, index, sample_id, status (N,), view of several."""
    out: dict[str, Array] = {"features": split.features}
    if split.stores_logits:
        out["logits"] = split.logits
    out |= {"labels": split.labels, "index": split.index, "sample_id": split.sample_id, "status": split.status}
    return out | {"view": split.view} if split.views > 1 else out


def cut(columns: dict[str, Array]) -> Iterator[dict[str, NDArray[Any]]]:
    """The columns as blocks of rows that fit into memory. columns: of equal length."""
    row_bytes = sum(values.dtype.itemsize * int(np.prod(values.shape[1:])) for values in columns.values())
    rows, step = len(columns["index"]), block_rows(row_bytes)
    for start in range(0, rows, step):
        yield {name: np.asarray(values[start : start + step]) for name, values in columns.items()}


def save_head(cache: FeatureCache, folder: Path) -> list[Path]:
    """The cache's head as a file of the folder, checked first; nothing where it has none."""
    if not cache.has_head:
        return []
    _ = cache.head  # refused when it is not the head of this cache
    target = folder / HEAD_FILE
    with replacing(target) as part:
        shutil.copyfile(cache.path / HEAD_FILE, part)
    return [target]
