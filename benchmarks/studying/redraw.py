"""Draw train and val of a cache anew, class by class, and leave test as it is.

Run: python benchmarks/studying/redraw.py CACHE FOLDER SEED
FOLDER gets train.npz, val.npz and test.npz, which `rebalance convert FOLDER NEW.cache` reads.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurecache import FeatureCache, Split

SHARE = 0.1  # of a class that is held out where the cache has no val


def drawn(labels: NDArray[np.int64], held_out: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Which rows are val (N,): so many of every class, at random. labels: (N,). held_out: (K,) rows a class."""
    random, val = np.random.default_rng(seed), np.zeros(len(labels), dtype=bool)
    for k, rows in enumerate(held_out):
        val[random.permutation(np.flatnonzero(labels == k))[:rows]] = True
    return val


def redraw(source: Path, folder: Path, seed: int) -> None:
    """Write the arrays of a cache with train and val drawn anew from the rows of both, each as large as before."""
    cache = FeatureCache(source)
    cache.verify()
    pool = [cache[name] for name in ("train", "val") if name in cache]
    labels = np.concatenate([np.asarray(split.labels) for split in pool])
    counts = np.bincount(labels, minlength=cache.num_classes)
    held_out = np.bincount(pool[1].labels, minlength=len(counts)) if len(pool) > 1 else (SHARE * counts).astype(int)
    val = drawn(labels, held_out, seed)
    columns = {name: np.concatenate([column(split, name) for split in pool]) for name in ("features", "sample_id")}
    folder.mkdir(parents=True)
    for name, rows in (("train", ~val), ("val", val)):
        np.savez(folder / f"{name}.npz", labels=labels[rows], **{key: each[rows] for key, each in columns.items()})
    test = cache["test"]
    columns = {name: column(test, name) for name in ("features", "sample_id")}
    np.savez(folder / "test.npz", labels=np.asarray(test.labels), **columns)


def column(split: Split, name: str) -> NDArray[Any]:
    """A column of a split as an array: features (N, D) or sample_id (N,)."""
    return split.sample_id if name == "sample_id" else split.read(name)


if __name__ == "__main__":
    redraw(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
