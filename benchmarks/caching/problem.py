"""The rows that are written and read: features (N, 2,048) and logits (N, 1,000), float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurecache import layout
from featurecache.plan import CachePlan, SplitPlan
from featurecache.writer import ShardWriter

BLOCK, WIDTH, CLASSES = 256, 2048, 1000
ID_BYTES = 8


def plan(rows: int, width: int = WIDTH, classes: int = CLASSES) -> CachePlan:
    """The plan of a cache with one split of one shard."""
    specification: dict[str, Any] = {
        "source": "benchmark",
        "features": {"dtype": "float32", "width": width},
        "logits": "float32",
        "head": None,
    }
    return CachePlan(specification, classes, None, {"train": SplitPlan(rows, BLOCK, (0, rows), None)})


def columns(rows: int) -> dict[str, layout.Column]:
    """Its columns."""
    return layout.columns(rows, WIDTH, dtype="float32", classes=CLASSES, id_bytes=ID_BYTES, block=BLOCK)


def block(number: int) -> dict[str, NDArray[Any]]:
    """256 rows; drawing new numbers would cost more than writing them, so two sets of them take turns."""
    rows = np.arange(number * BLOCK, (number + 1) * BLOCK)
    features, logits = _NUMBERS[number % 2]
    return {
        "features": features,
        "logits": logits,
        "labels": rows % CLASSES,
        "index": rows,
        "sample_id": rows.astype(f"S{ID_BYTES}"),
        "status": np.zeros(BLOCK, np.uint8),
    }


def _numbers(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    generator = np.random.default_rng(seed)
    return (
        generator.standard_normal((BLOCK, WIDTH), np.float32),
        generator.standard_normal((BLOCK, CLASSES), np.float32),
    )


_NUMBERS = [_numbers(0), _numbers(1)]


def make(cache: Path, rows: int) -> None:
    """A finished cache of so many rows, a multiple of 256."""
    whole = plan(rows)
    with ShardWriter(cache, whole, "train", 0, columns(rows), resume=False) as writer:
        for number in range(rows // BLOCK):
            writer.write(number, block(number))
        writer.finish()
    whole.save(cache)
