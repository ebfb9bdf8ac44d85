"""A split of a cache on its way to the device, block by block."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from device.record import Record, Timed
from featurecache import FeatureCache, write

Blocks = Callable[[], Iterator[tuple[Tensor, Tensor]]]


def feeding(record: Record, *, rows: int, width: int, classes: int, block: int, runs: int) -> None:
    """Gigabytes a second of `Split.blocks` next to plain slices of its map; alone, and with a product on every block.

    block: rows of one.
    """
    with record.guarded("feed/data"), tempfile.TemporaryDirectory() as folder:
        features, labels = _made(rows, width, classes)
        write(Path(folder) / "cache", "train", features, labels)
        split = FeatureCache(Path(folder) / "cache")["train"]
        device, weight = record.place.device, torch.ones(width, classes, dtype=torch.float16)
        on_device = weight.to(device)

        def ours() -> Iterator[tuple[Tensor, Tensor]]:
            return split.blocks(block, device)

        def plain() -> Iterator[tuple[Tensor, Tensor]]:
            for start in range(0, rows, block):
                part = slice(start, start + block)
                yield torch.from_numpy(np.array(split.features[part])).to(device), torch.from_numpy(labels[part])

        for name, blocks in (("blocks", ours), ("plain slices", plain)):
            _rate(record, f"feed/{name}", blocks, lambda x: x, features, runs)
            _rate(record, f"feed/{name} and a product", blocks, lambda x: x @ on_device, features, runs)
        with record.guarded("feed/right rows"):
            right = _as_stored(split.blocks(block, device), features, labels)
            record.found("feed/right rows", float(right), "of the rows", at_least=1.0)


def _made(rows: int, width: int, classes: int) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Rows that all differ."""
    random = np.random.default_rng(0)
    features = random.standard_normal((rows, width), np.float32).astype(np.float16)
    return features, random.integers(0, classes, rows)


def _rate(
    record: Record, name: str, blocks: Blocks, use: Callable[[Tensor], Tensor], features: NDArray[np.float16], runs: int
) -> None:
    def through() -> None:
        for block, _ in blocks():
            use(block)

    def gigabytes(timed: Timed) -> float:
        return float(features.nbytes / 1e9 / float(np.median(timed.seconds)))

    timed = record.timed(name, through, runs=runs)
    if timed is not None:
        record.found(f"{name}, rate", gigabytes(timed), "GB/s")


def _as_stored(
    blocks: Iterator[tuple[Tensor, Tensor]], features: NDArray[np.float16], labels: NDArray[np.int64]
) -> float:
    """The share of the rows that arrive as they were written; all blocks are kept, so none may be written over."""
    kept = list(blocks)
    there = np.concatenate([rows.cpu().numpy() for rows, _ in kept])
    numbers = np.concatenate([part.cpu().numpy() for _, part in kept])
    return float(((there == features).all(axis=1) & (numbers == labels)).mean())
