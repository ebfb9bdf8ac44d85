"""The pass of a model over one split: batches in, blocks of a shard out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from featurecache import layout
from featurecache.classifier import capture
from featurecache.described import ids_of
from featurecache.plan import CachePlan, missing_shards
from featurecache.proof import logits_of
from featurecache.storage import check_labels, to_storage
from featurecache.writer import ShardWriter

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the split, the rows done and the rows in all."""


class SplitPass:
    """The pass over one split."""

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        plan: CachePlan,
        name: str,
        data: Dataset[Any],
        device: torch.device,
        workers: int,
        progress: Progress | None,
    ) -> None:
        self._model, self._layer, self._device, self._workers = model, layer, device, workers
        self._plan, self._name, self._data, self._progress = plan, name, data, progress
        self._split = plan.splits[name]
        self._ids = ids_of(data, self._split.rows)
        self._dtype = plan.specification["features"]["dtype"]
        self._logits = plan.specification["logits"] != "none"

    def fill(self, cache: Path) -> int:
        """Write the files of the split that are missing; the number of rows written."""
        written = 0
        for shard in missing_shards(cache, self._name, self._split):
            start, stop = self._split.bounds[shard], self._split.bounds[shard + 1]
            columns = layout.columns(
                stop - start,
                self._plan.specification["features"]["width"],
                dtype=self._dtype,
                classes=self._plan.classes if self._logits else None,
                id_bytes=self._ids.dtype.itemsize,
            )
            with ShardWriter(cache, self._plan, self._name, shard, columns) as writer:
                done = 0
                for block in self._blocks(start, stop):
                    writer.append(block)
                    done += len(block["labels"])
                    written += len(block["labels"])
                    if self._progress:
                        self._progress(self._name, start + done, self._split.rows)
        return written

    def _blocks(self, start: int, stop: int) -> Iterator[dict[str, NDArray[Any]]]:
        loader = DataLoader(
            Subset(self._data, range(start, stop)),
            batch_size=self._split.batch_size,
            num_workers=self._workers,
            pin_memory=self._device.type == "cuda",
        )
        low = start
        with capture(self._model, self._layer) as captured:
            for inputs, labels in loader:
                with torch.inference_mode():  # not around the yield: it would hold for whoever is given the block
                    output = logits_of(self._model(inputs.to(self._device, non_blocking=True)))
                rows = slice(low, low + len(inputs))
                yield self._block(captured.features, output, labels, rows)
                low = rows.stop

    def _block(self, features: Tensor, logits: Tensor, labels: Tensor, rows: slice) -> dict[str, NDArray[Any]]:
        ids = self._ids[rows]
        known = check_labels(labels.numpy())
        if int(known.max()) >= self._plan.classes:
            raise ValueError(
                f"{self._name}: label {int(known.max())} is out of range: the model has {self._plan.classes} outputs"
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
