"""Rows that lie in arrays, on their way into shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from featurecache import layout
from featurecache.plan import CachePlan, SplitPlan, even_bounds
from featurecache.storage import (
    IdColumn,
    NumberedIds,
    as_array,
    check_labels,
    data_digest,
    encode_ids,
    to_storage,
)
from featurecache.writer import ShardWriter

BLOCK_BYTES, BLOCK_ROWS = 2**22, 4096  # what is converted, written and checked at a time


@dataclass(frozen=True)
class Table:
    """The rows to write: features (N, D), labels (N,), logits (N, K) or None, ids (N,)."""

    features: NDArray[Any]
    labels: NDArray[np.int64]
    logits: NDArray[Any] | None
    ids: IdColumn
    dtype: str
    views: int

    def plan(self, seen: bool) -> SplitPlan:
        """The plan of the split: blocks of about 4 MiB."""
        one = self.columns(1, 1)
        row_bytes = sum(column.nbytes for name, column in one.items() if name != "crc")
        block = min(BLOCK_ROWS, max(1, BLOCK_BYTES // row_bytes))
        rows = len(self.features)
        ids = (self.ids[low : low + BLOCK_ROWS] for low in range(0, rows, BLOCK_ROWS))
        stored = [(self.features, self.dtype)] + ([] if self.logits is None else [(self.logits, "float32")])
        values = (_as(dtype, array[low : low + block]) for array, dtype in stored for low in range(0, rows, block))
        return SplitPlan(
            rows,
            block,
            even_bounds(rows, row_bytes=row_bytes, batch_size=block),
            seen,
            data_digest(ids, self.labels, values),
            self.views,
        )

    def columns(self, rows: int, block: int) -> dict[str, layout.Column]:
        """The columns of a shard of so many rows, with a checksum for every `block` of them."""
        classes = None if self.logits is None else self.logits.shape[1]
        return layout.columns(
            rows,
            self.features.shape[1],
            dtype=self.dtype,
            classes=classes,
            id_bytes=self.ids.dtype.itemsize,
            views=self.views,
            block=block,
        )

    def fill(self, cache: Path, plan: CachePlan, split: str) -> None:
        """Write all shards of the split."""
        size = plan.splits[split].batch_size
        for shard, (start, stop) in enumerate(pairwise(plan.splits[split].bounds)):
            columns = self.columns(stop - start, size)
            with ShardWriter(cache, plan, split, shard, columns, resume=False) as writer:
                for block, low in enumerate(range(start, stop, size)):
                    writer.write(block, self._block(slice(low, min(low + size, stop))))
                writer.finish()

    def _block(self, rows: slice) -> dict[str, NDArray[Any]]:
        ids = self.ids[rows]
        block = {
            "features": to_storage(self.features[rows], self.dtype, ids),
            "labels": self.labels[rows],
            "index": np.arange(rows.start, rows.stop),
            "sample_id": ids,
            "status": np.zeros(len(ids), dtype=np.uint8),
            "view": np.arange(rows.start, rows.stop) // (len(self.features) // self.views),
        }
        if self.logits is not None:
            block["logits"] = to_storage(self.logits[rows], "float32", ids, what="logits")
        return block


def _as(dtype: str, values: NDArray[Any]) -> NDArray[Any]:
    """Values in the stored dtype; what does not fit is refused when it is written."""
    with np.errstate(over="ignore"):
        return values.astype(dtype, copy=False)


def table(
    features: Tensor | ArrayLike,
    labels: Tensor | ArrayLike | None,
    logits: Tensor | ArrayLike | None,
    sample_ids: Sequence[str] | None,
    dtype: str,
    views: int,
) -> Table:
    """The rows of arrays that were checked; the arguments are those of featurecache.write."""
    if labels is None:
        raise ValueError("no labels; expected (N,) integers, -1 for a row without one")
    rows, target = as_array(features), check_labels(as_array(labels))
    scores = None if logits is None else as_array(logits)
    _check_shapes(rows, target, scores)
    check_views(len(rows), views)
    ids: IdColumn = NumberedIds(len(rows), views) if sample_ids is None else encode_ids(sample_ids)
    if len(ids) != len(rows):
        raise ValueError(f"{len(ids)} sample ids for {len(rows)} rows; expected one a row")
    return Table(rows, target, scores, ids, dtype, views)


def check_views(rows: int, views: int) -> None:
    """ValueError unless N rows are so many views of every image."""
    if views < 1 or rows % views:
        raise ValueError(f"{rows} rows of {views} views; expected a multiple: one whole view after the other")


def _check_shapes(features: NDArray[Any], labels: NDArray[np.int64], logits: NDArray[Any] | None) -> None:
    if features.ndim != 2 or features.dtype.kind != "f":
        raise ValueError(f"features are {features.dtype} of shape {features.shape}; expected floats (N, D)")
    if not 0 < features.shape[1] <= layout.MAX_WIDTH:
        raise ValueError(f"features have shape {features.shape}; expected 1 to {layout.MAX_WIDTH} columns")
    if len(labels) != len(features):
        raise ValueError(f"{len(labels)} labels for {len(features)} rows of features; expected one a row")
    if logits is None:
        return
    if logits.ndim != 2 or len(logits) != len(features) or not logits.shape[1] or logits.dtype.kind not in "fiu":
        raise ValueError(f"logits are {logits.dtype} of shape {logits.shape}; expected numbers ({len(features)}, K)")
