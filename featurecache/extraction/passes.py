"""The pass of a model over one split: batches in, blocks of a shard out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from featurecache import layout
from featurecache.classifier import capture
from featurecache.extraction.described import ids_of
from featurecache.extraction.surroundings import SeededRows, own_randomness, same_threads
from featurecache.plan import CachePlan
from featurecache.proof import logits_of
from featurecache.storage import check_labels, to_storage
from featurecache.writer import ShardWriter
from featurecache.writing.agreement import check_agreed

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the split, the rows done and the rows in all."""

Block: TypeAlias = dict[str, NDArray[Any]]


class SplitPass:
    """The pass over one split.

    model: in eval mode, on the device. layer: its classifier's name. plan: of the cache. name: of the split.
    data: its rows. device, workers: where the model runs, how many processes load.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        plan: CachePlan,
        name: str,
        data: Dataset[Any],
        device: torch.device,
        workers: int,
    ) -> None:
        self.name, self.split = name, plan.splits[name]
        self._model, self._layer, self._device, self._workers = model, layer, device, workers
        self._plan = plan
        self._data = SeededRows(data, int((self.split.made_with or {}).get("seed", 0)))
        self._ids = ids_of(data, self.split.rows)
        self._dtype = plan.specification["features"]["dtype"]
        self._logits = plan.specification["logits"] != "none"

    def writer(self, cache: Path, shard: int) -> ShardWriter:
        """The writer of a shard, at its full size on the disk."""
        columns = layout.columns(
            self.split.bounds[shard + 1] - self.split.bounds[shard],
            self._plan.specification["features"]["width"],
            dtype=self._dtype,
            classes=self._plan.classes if self._logits else None,
            id_bytes=self._ids.dtype.itemsize,
            block=self.split.batch_size,
        )
        return ShardWriter(cache, self._plan, self.name, shard, columns)

    def check_agreed(self, cache: Path) -> None:
        """ValueError when another process has planned the split anew; to be asked with its files locked."""
        check_agreed(cache, self._plan, self.name)

    def rows_of(self, shard: int, block: int) -> int:
        """How many rows a block of a shard has."""
        start, stop = self.split.bounds[shard : shard + 2]
        return min(self.split.batch_size, stop - start - block * self.split.batch_size)

    def blocks(self, shard: int, wanted: Sequence[int]) -> Generator[tuple[int, Block], None, None]:
        """The wanted blocks of a shard, each one batch, with their numbers."""
        start, size = self.split.bounds[shard], self.split.batch_size
        firsts = [start + block * size for block in wanted]
        batches = [range(low, low + self.rows_of(shard, block)) for low, block in zip(firsts, wanted, strict=True)]
        loader = DataLoader(
            self._data,
            batch_sampler=batches,  # type: ignore[arg-type]  # any re-iterable of rows
            num_workers=self._workers,
            pin_memory=self._device.type == "cuda",
        )
        with own_randomness(), same_threads(self.split.made_with), capture(self._model, self._layer) as captured:
            for block, rows, (inputs, labels) in zip(wanted, batches, loader, strict=True):
                with torch.inference_mode():  # not around the yield: it would hold for whoever is given the block
                    output = logits_of(self._model(inputs.to(self._device, non_blocking=True)))
                yield block, self._block(captured.features, output, labels, rows)

    def _block(self, features: Tensor, logits: Tensor, labels: Tensor, rows: range) -> Block:
        ids = self._ids[rows.start : rows.stop]
        known = check_labels(labels.numpy())
        if int(known.max()) >= self._plan.classes:
            raise ValueError(
                f"{self.name}: label {int(known.max())} is out of range: the model has {self._plan.classes} outputs"
            )
        block = {
            "features": to_storage(features.float().cpu().numpy(), self._dtype, ids),
            "labels": known,
            "index": np.arange(rows.start, rows.stop),
            "sample_id": ids,
            "status": np.zeros(len(ids), dtype=np.uint8),
        }
        if self._logits:
            block["logits"] = to_storage(logits.float().cpu().numpy(), "float32", ids, what="logits")
        return block
