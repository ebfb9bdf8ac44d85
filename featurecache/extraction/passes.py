"""The pass of a model over one split: batches in, blocks of a shard out.

Three stages work at once, a queue of bounded length between each two: a thread loads batches and sends them to the
device, a thread runs the model, and whoever takes the blocks converts and writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from featurecache import layout
from featurecache.extraction.ahead import Clock, Gate, ahead
from featurecache.extraction.forward import Forward
from featurecache.extraction.rows import Batch, Rows, own_randomness
from featurecache.extraction.staging import Download, Upload, arrived
from featurecache.extraction.surroundings import same_threads
from featurecache.plan import CachePlan
from featurecache.storage import check_labels, to_storage
from featurecache.writer import ShardWriter
from featurecache.writing.agreement import check_agreed

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the split, the rows done and the rows in all."""

Block: TypeAlias = dict[str, NDArray[Any]]

DEPTH = 2  # batches that wait between two stages


class SplitPass:
    """The pass over one split.

    forward: the model. plan: of the cache. rows: of the split. at_most: rows of one forward, where that is fewer than
    a block holds. workers: processes that load. clock: counts the seconds of each stage.
    """

    def __init__(
        self, forward: Forward, plan: CachePlan, rows: Rows, *, at_most: int, workers: int, clock: Clock
    ) -> None:
        self.name, self.split, self.clock = rows.name, plan.splits[rows.name], clock
        self.bad: list[str] = []
        self._forward, self._plan, self._rows, self._workers = forward, plan, rows, workers
        self._at_most = min(at_most, self.split.batch_size)
        self._dtype = plan.specification["features"]["dtype"]
        self._width = plan.specification["features"]["width"]
        self._logits = plan.specification["logits"] != "none"

    def writer(self, cache: Path, shard: int) -> ShardWriter:
        """The writer of a shard, at its full size on the disk."""
        columns = layout.columns(
            self.split.bounds[shard + 1] - self.split.bounds[shard],
            self._width,
            dtype=self._dtype,
            classes=self._plan.classes if self._logits else None,
            id_bytes=self._rows.id_bytes,
            views=self.split.views,
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
        """The wanted blocks of a shard, each one batch, with their numbers.

        Nothing is read beyond the first before the second is asked for: a disk that is full is found in between.
        """
        gate = Gate()
        start, size = self.split.bounds[shard], self.split.batch_size
        firsts = [start + block * size for block in wanted]
        batches = [range(low, low + self.rows_of(shard, block)) for low, block in zip(firsts, wanted, strict=True)]
        with (
            own_randomness(),
            same_threads(self.split.made_with),
            self._forward.ready(),
            closing(ahead(self._loaded(batches), DEPTH, gate=gate)) as loaded,
            closing(ahead(self._computed(loaded), DEPTH)) as computed,
        ):
            try:
                for block, rows, (batch, output) in zip(wanted, batches, computed, strict=True):
                    yield block, self._block(batch, output, rows)
                    gate.open()
            finally:
                gate.shut()  # before the stages are closed: none of them ends while it waits here

    def _loaded(self, batches: Sequence[range]) -> Generator[tuple[Batch, Any, Any], None, None]:
        """Every batch, its inputs on the device, and when they are there."""
        device = self._forward.computing.device
        upload = Upload(device, channels_last=self._forward.computing.channels_last)
        loader = iter(
            DataLoader(
                self._rows,
                batch_sampler=batches,  # type: ignore[arg-type]  # any re-iterable of rows
                num_workers=self._workers,
                collate_fn=self._rows.collate,
                pin_memory=device.type == "cuda",
            )
        )
        for _ in batches:
            with self.clock.of("decode"):
                batch = self._rows.check(next(loader))
                there, event = upload(batch.inputs)
            yield batch, there, event

    def _computed(
        self, loaded: Generator[tuple[Batch, Any, Any], None, None]
    ) -> Generator[tuple[Batch, Download | None], None, None]:
        """Every batch and what the model makes of it; None where no row could be read."""
        for batch, inputs, event in loaded:
            if inputs is None:
                yield batch, None
                continue
            with self.clock.of("forward"):
                arrived(inputs, event, self._forward.computing.device)
                output = Download.of(self._forward(inputs, len(batch), self._at_most))
            yield batch, output

    def _block(self, batch: Batch, output: Download | None, rows: range) -> Block:
        if output is not None and output.event is not None:
            with self.clock.of("forward"):
                output.wait()
        with self.clock.of("write"):
            return self._converted(batch, output, rows)

    def _converted(self, batch: Batch, output: Download | None, rows: range) -> Block:
        ids = self._rows.ids(rows)
        self.bad += batch.reasons
        labels = check_labels(batch.labels.numpy())
        if int(labels.max()) >= self._plan.classes:
            raise ValueError(
                f"{self.name}: label {int(labels.max())} is out of range: {self._plan.classes} classes are known"
            )
        block = {
            "features": self._stored(None if output is None else output.features, batch, ids, self._dtype, self._width),
            "labels": labels,
            "index": np.arange(rows.start, rows.stop),
            "sample_id": ids,
            "status": batch.unreadable.astype(np.uint8),
        }
        if self.split.views > 1:
            block["view"] = np.arange(rows.start, rows.stop, dtype=np.int32) // self._rows.items
        if self._logits:
            logits = None if output is None else output.logits
            block["logits"] = self._stored(logits, batch, ids, "float32", self._plan.classes, what="logits")
        return block

    def _stored(
        self,
        values: torch.Tensor | None,
        batch: Batch,
        ids: NDArray[np.bytes_],
        dtype: str,
        width: int,
        *,
        what: str = "features",
    ) -> NDArray[Any]:
        """The values as they are stored, with zeros for the rows that could not be read."""
        if values is None:
            return np.zeros((len(batch), width), dtype)
        numbers = values.numpy()
        if batch.unreadable.any():
            numbers = np.where(batch.unreadable[:, None], np.float32(0), numbers)
        return to_storage(numbers, dtype, ids, what=what)
