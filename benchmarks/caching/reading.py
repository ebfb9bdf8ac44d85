"""How fast are all rows, and some, next to plain files and h5py?"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from speed.measure import compare, in_turns, state

from caching import problem
from featurecache import FeatureCache

ROWS = 256 * problem.BLOCK  # 800 MB of features and logits
SOME = 20_000
RUNS = 7
STEP = 1024  # rows that are copied from a map at a time


def whole(work: Path) -> None:
    """All features into memory, and all of them through the map, from the page cache."""
    split, bare = _files(work)
    shape = split.features.shape
    got, wanted = in_turns(
        (lambda: split.read("features"), RUNS), (lambda: np.fromfile(bare, np.float32).reshape(shape), RUNS)
    )
    if not np.array_equal(got.result, wanted.result):
        raise SystemExit("what was read differs")
    compare(f"all features into memory, {bare.stat().st_size / 1e6:.0f} MB", got, "np.fromfile", wanted, target=0.9)
    room = np.empty((STEP, shape[1]), np.float32)

    def through(array: NDArray[np.float32]) -> None:
        for start in range(0, len(array), STEP):
            np.copyto(room, array[start : start + STEP])

    def opened() -> NDArray[np.float32]:
        return np.memmap(bare, np.float32, "r", shape=shape)

    ours, theirs = in_turns((lambda: through(_fresh(work)), RUNS), (lambda: through(opened()), RUNS))
    compare("all features through a map that was just opened", ours, "np.memmap", theirs, target=0.9)
    checked, _ = in_turns((lambda: FeatureCache(work / "cache", verify=True), RUNS), (lambda: None, 1))
    print(f"  {'for comparison, verify=True':<34}{checked}  {split.nbytes / 1e9 / checked.median:.1f} GB/s")


def shuffled(work: Path) -> None:
    """Rows in random order, from the map, and from h5py on chunks of a block by the faster of two ways."""
    split, _ = _files(work)
    rows = np.random.default_rng(0).permutation(len(split))[:SOME]
    chunked = work / "chunked.h5"
    if not chunked.exists():
        with h5py.File(chunked, "w") as file:
            file.create_dataset("features", data=split.features, chunks=(problem.BLOCK, problem.WIDTH))

    def one_by_one() -> NDArray[Any]:
        with h5py.File(chunked) as file:
            return np.stack([file["features"][row] for row in rows])

    def chunk_by_chunk() -> NDArray[Any]:
        out, order = np.empty((SOME, problem.WIDTH), np.float32), np.argsort(rows)
        with h5py.File(chunked) as file:
            ends = np.searchsorted(rows[order], np.arange(0, len(split) + 1, problem.BLOCK))
            for number, (low, high) in enumerate(pairwise(ends)):
                places = order[low:high]
                first = number * problem.BLOCK
                out[places] = file["features"][first : first + problem.BLOCK][rows[places] - first]
        return out

    ours, single = in_turns((lambda: split.features[rows], 5), (one_by_one, 1))
    by_chunk, _ = in_turns((chunk_by_chunk, 3), (lambda: None, 1))
    if not (np.array_equal(ours.result, single.result) and np.array_equal(ours.result, by_chunk.result)):
        raise SystemExit("what was read differs")
    compare(f"{SOME} shuffled rows of {len(split)}", ours, "h5py, 256-row chunks, row by row", single, target=20)
    ratio = by_chunk.median / ours.median
    print(f"  {'h5py, every chunk read once':<34}{by_chunk}")
    state(f"{ratio:.1f} times faster than that (it needs all rows to be known at once); no target", True)


def _fresh(work: Path) -> NDArray[np.float32]:
    features: NDArray[np.float32] = FeatureCache(work / "cache")["train"].features
    return features


def _files(work: Path) -> tuple[Any, Path]:
    """The cache's split, and its features alone in a plain file."""
    bare = work / "features.bin"
    if not bare.exists():
        problem.make(work / "cache", ROWS)
        np.asarray(FeatureCache(work / "cache")["train"].features).tofile(bare)
    return FeatureCache(work / "cache")["train"], bare
