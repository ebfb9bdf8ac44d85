"""What a data set says of its rows before any of them is loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from featurecache.extraction.surroundings import SeededRows, own_randomness
from featurecache.storage import SAMPLED, as_array, check_labels, data_digest, encode_ids


def rows_of(data: Dataset[Any], name: str) -> int:
    """How many there are; ValueError for none. name: of the split."""
    rows = len(data) if hasattr(data, "__len__") else 0
    if rows < 1:
        raise ValueError(f"{name}: the data set has no rows; expected at least one image")
    return rows


def ids_of(data: Dataset[Any], rows: int) -> NDArray[np.bytes_]:
    """What the rows are called: by the data set, or their numbers."""
    names = getattr(data, "sample_ids", None)
    ids = encode_ids([str(i) for i in range(rows)] if names is None else names)
    if len(ids) != rows:
        raise ValueError(f"the data set has {rows} rows and {len(ids)} sample_ids; expected one a row")
    return ids


FEW = 8  # rows that stand for a data set that does not say what is in it


def sampled_digest(data: Dataset[Any], seed: int) -> str:
    """SHA-256 over the ids, and over some rows as they are loaded: of a data set without `labels`, whose rows and
    labels are not known beforehand. It tells most other data apart, and not a change in a single row; it begins with
    SAMPLED, for another release of an image library may load a row with other last bits.

    seed: of what the data set draws at random.
    """
    rows = rows_of(data, "the data")
    loaded = SeededRows(data, seed)
    with own_randomness():
        some = [loaded[int(row)] for row in np.unique(np.linspace(0, rows - 1, FEW).astype(int))]
    values = [_bits(part) for item in some for part in item]
    return SAMPLED + data_digest([ids_of(data, rows)], np.zeros(0, np.int64), values)


def _bits(value: Any) -> NDArray[Any]:
    """What a row's part holds, as an array; what cannot be one counts as nothing."""
    try:
        array = as_array(value)
    except (TypeError, ValueError, RuntimeError):
        return np.zeros(0)
    return array if array.dtype.kind in "biuf" else np.zeros(0)


def labels_of(data: Dataset[Any]) -> NDArray[np.int64] | None:
    """The labels, where the data set knows them without loading images."""
    labels = getattr(data, "labels", None)
    return None if labels is None else check_labels(np.asarray(labels))
