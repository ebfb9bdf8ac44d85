"""What a data set says of its rows before any of them is loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from featurecache.storage import check_labels, encode_ids


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


def labels_of(data: Dataset[Any]) -> NDArray[np.int64] | None:
    """The labels, where the data set knows them without loading images."""
    labels = getattr(data, "labels", None)
    return None if labels is None else check_labels(np.asarray(labels))
