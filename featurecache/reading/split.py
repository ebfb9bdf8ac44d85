"""One split of a cache: its columns as arrays, its rows as a data set, its blocks for a device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from featurecache import layout
from featurecache.open_files import room_for
from featurecache.plan import CachePlan, read_plan
from featurecache.reading.feeding import Feed
from featurecache.reading.mapped import MappedShard
from featurecache.reading.sharded import ShardedArray

Array: TypeAlias = NDArray[Any] | ShardedArray


class Split(Dataset[tuple[Tensor, int]]):
    """One split of a cache; N rows in the order of the data they came from.

    As a torch data set its item i is (features (D,), label). It may be pickled and used in processes that are forked
    or spawned: what travels is its path.
    name: of the split. seen: whether the backbone was trained on these rows, None where that is not known.
    views: of every image; row r is view r div (N / views) of image r mod (N / views). num_classes: K.
    shards: its files, mapped.
    """

    def __init__(self, cache: Path, name: str, plan: CachePlan) -> None:
        self.name, self._cache, self._plan = name, cache, plan.splits[name]
        self.seen, self.views, self.num_classes = self._plan.seen, self._plan.views, plan.classes
        room_for(self._plan.shards, str(cache / name))  # a map holds its file open
        self.shards = [MappedShard(cache, plan, name, i) for i in range(self._plan.shards)]

    @property
    def bounds(self) -> tuple[int, ...]:
        """The first row of every file, and N."""
        return self._plan.bounds

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (self._cache, self.name)

    def __len__(self) -> int:
        return self._plan.rows

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return torch.from_numpy(np.array(self.features[row])), int(self.labels[row])

    def __getitems__(self, rows: Sequence[int]) -> list[tuple[Tensor, int]]:
        """Several items at once, as a DataLoader asks for them."""
        features = torch.from_numpy(np.asarray(self.features[np.asarray(rows)]))
        return list(zip(features, self.labels[rows].tolist(), strict=True))

    @cached_property
    def features(self) -> Array:
        """(N, D): a memory map where the split is one file, else a ShardedArray over its files. Writing to it changes
        memory only, never the cache."""
        return self._column("features")

    @cached_property
    def logits(self) -> Array:
        """(N, K) float32; ValueError where the cache stores none."""
        self._check_stores("logits")
        return self._column("logits")

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(N,) class ids, -1 where there is none. ValueError where one is no class."""
        labels = self._joined("labels")
        if int(labels.min()) < -1 or int(labels.max()) >= self.num_classes:
            row = int(np.flatnonzero((labels < -1) | (labels >= self.num_classes))[0])
            raise ValueError(
                f"{self._cache / self.name}: label {int(labels[row])} in row {row}; "
                f"expected -1..{self.num_classes - 1}: a file is damaged; `rebalance verify` says which"
            )
        return labels

    @cached_property
    def index(self) -> NDArray[np.int64]:
        """(N,) each row's place in its split."""
        return self._joined("index")

    @cached_property
    def status(self) -> NDArray[np.uint8]:
        """(N,) 0 = fine, 1 = the sample could not be read."""
        return self._joined("status")

    @cached_property
    def view(self) -> NDArray[np.int32]:
        """(N,) which view of its image a row is, from 0."""
        return self._joined("view") if self.views > 1 else np.zeros(len(self), np.int32)

    @cached_property
    def sample_id(self) -> NDArray[np.str_]:
        """(N,) what the rows are called in the data they came from."""
        names = self._joined("sample_id").tolist()
        return np.array([name.decode("utf-8", errors="replace") for name in names], dtype=np.str_)

    @property
    def stores_logits(self) -> bool:
        """Whether logits are in the files."""
        return "logits" in self.shards[0].header.columns

    @property
    def nbytes(self) -> int:
        """Bytes of its files."""
        return sum(shard.header.size for shard in self.shards)

    def read(self, name: str) -> NDArray[Any]:
        """A column as an array in memory, read in one go.

        name: features, logits, labels, index, status or sample_id (as bytes). A map brings pages as they are touched;
        this is faster where all of them are wanted, above all from a cold or network disk.
        """
        if name == "crc" or (name not in layout.DTYPES and name != "sample_id"):
            raise ValueError(f"no column {name[:80]!r}; there are: {', '.join(self.shards[0].header.data)}")
        self._check_stores(name)
        columns = [shard.header.columns[name] for shard in self.shards]
        # Shards may differ in the width of their ids.
        parts = [np.empty(column.shape, column.dtype) for column in columns]
        if len({column.dtype for column in columns}) == 1:
            whole = np.empty((len(self), *columns[0].shape[1:]), columns[0].dtype)
            parts = np.split(whole, self.bounds[1:-1])
        for shard, part in zip(self.shards, parts, strict=True):
            shard.read(name, part)
        return whole if len({column.dtype for column in columns}) == 1 else np.concatenate(parts)

    def blocks(self, rows: int, device: str | torch.device = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
        """Features (n, D), in the stored dtype, and labels (n,) of `rows` rows after the other, on a device.

        The next block is read while the caller works on this one; for CUDA it goes through two pinned buffers, and
        the copy to the device overlaps too. On the CPU a block that lies in one file is a view of its map.
        """
        if rows < 1:
            raise ValueError(f"blocks of {rows} rows; expected 1 or more")
        return iter(Feed(self.features, self.labels, rows, torch.device(device), self._will_need))

    def _will_need(self, start: int, stop: int) -> None:
        for shard, low, high in zip(self.shards, self.bounds[:-1], self.bounds[1:], strict=True):
            if start < high and stop > low:
                shard.will_need("features", max(start, low) - low, min(stop, high) - low)

    def _check_stores(self, name: str) -> None:
        if name not in self.shards[0].header.columns:
            hint = "; compute them with the head: head(split.features)" if name == "logits" else ""
            raise ValueError(f"split {self.name!r} stores no {name}{hint}")

    def _column(self, name: str) -> Array:
        parts = [shard.column(name) for shard in self.shards]
        return parts[0] if len(parts) == 1 else ShardedArray(parts)

    def _joined(self, name: str) -> NDArray[Any]:
        return np.concatenate([shard.column(name) for shard in self.shards])

    def __repr__(self) -> str:
        return f"Split({self.name!r}, rows={len(self)}, features={self.features.shape}, seen={self.seen})"


def _open(cache: Path, name: str) -> Split:
    return Split(cache, name, read_plan(cache))
