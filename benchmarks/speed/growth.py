"""How time and memory grow with rows and classes; every measurement is a process of its own.

Run one in benchmarks/: python -m speed.growth METHOD ROWS CLASSES. Prints one JSON line: seconds and anonymous bytes.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speed.measure import verdict, watched

FOLDER = Path(__file__).resolve().parent.parent  # where `speed` is found
WIDTH = 256
ROWS = (50_000, 100_000, 200_000, 400_000, 800_000, 1_600_000)
CLASSES = (100, 400, 1600, 8000)
METHODS = ("ncm", "tau_norm", "crt")
# Bytes a row of labels and per-row results: the labels as given, as int64 and as the places of sums; for crt
# the visits, their times and their order too; for the search the two ends of every row, once in blocks and once joined,
# the ends sorted, and their places.
PER_ROW = {"ncm": 24, "tau_norm": 112, "crt": 64}
SLOPE = 1.1
FLAT = 0.10


class Streamed:
    """Rows (N, D) in float16 that are made when they are read: the class's mean plus noise out of a pool."""

    def __init__(self, labels: NDArray[np.int64], classes: int) -> None:
        rng = np.random.default_rng(0)
        self._means = rng.standard_normal((classes, WIDTH), dtype=np.float32)
        self._pool = rng.standard_normal((4099, WIDTH), dtype=np.float32)
        self._labels = labels
        self.shape = (len(labels), WIDTH)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, rows: slice) -> NDArray[np.float16]:
        places = np.arange(*rows.indices(len(self)))
        return (self._means[self._labels[places]] + self._pool[places % len(self._pool)]).astype(np.float16)


def one(method: str, rows: int, classes: int) -> None:
    """Measure one method once, after one run on few rows that loads all code."""
    import torch

    from rebalance import LinearHead
    from rebalance.methods import crt, ncm
    from rebalance.methods.tau_norm import tau_intervals
    from speed.search import exact

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    labels = np.random.default_rng(1).integers(0, classes, rows)
    labels[:classes] = np.arange(classes)
    head = LinearHead(torch.randn(classes, WIDTH, generator=torch.Generator().manual_seed(0)))
    works: dict[str, Callable[[Streamed, NDArray[np.int64]], object]] = {
        "ncm": lambda features, own: ncm(head, features, own, transform="un"),
        "tau_norm": lambda features, own: exact(tau_intervals(head, features, torch.from_numpy(own)), own),
        "crt": lambda features, own: crt(head, features, own),
    }
    work = works[method]
    few = labels[: 2 * classes]
    work(Streamed(few, classes), few)
    features = Streamed(labels, classes)
    with watched() as highest:
        begun = time.perf_counter()
        work(features, labels)
        seconds = time.perf_counter() - begun
        print(json.dumps({"seconds": seconds, "bytes": highest()}))


def _measured(method: str, rows: int, classes: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "speed.growth", method, str(rows), str(classes)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=FOLDER)
    result: dict[str, Any] = json.loads(run.stdout)
    return result


def _slope(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """The least-squares slope of log time over log size."""
    return statistics.linear_regression([math.log(n) for n in sizes], [math.log(s) for s in seconds]).slope


def growth() -> None:
    """Two rows for every method: in N with the memory, and in K."""
    for method in METHODS:
        by_rows = [_measured(method, rows, CLASSES[0]) for rows in ROWS]
        seconds = [each["seconds"] for each in by_rows]
        slope = _slope(ROWS, seconds)
        print(f"\n{method}, {ROWS[0]:,} .. {ROWS[-1]:,} streamed rows, D = {WIDTH}, K = {CLASSES[0]} (1 run each)")
        print("  " + ", ".join(f"{s:.2f}" for s in seconds) + " s")
        print(f"  slope in N {slope:.2f}; target {SLOPE}: {verdict(slope <= SLOPE)}")
        own = [each["bytes"] - PER_ROW[method] * rows for each, rows in zip(by_rows, ROWS, strict=True)]
        # At few rows the blocks make the peak, at many what is kept of every row: the difference may fall, not grow.
        spread = max(own) / own[0] - 1
        memory = ", ".join(f"{each['bytes'] / 1e6:.0f}" for each in by_rows)
        print(f"  highest anonymous memory {memory} MB")
        beyond = f"beyond {PER_ROW[method]} bytes a row it grows by {100 * spread:.0f} %"
        print(f"  {beyond}; target {100 * FLAT:.0f} %: {verdict(spread <= FLAT)}")
        seconds = [_measured(method, ROWS[0], classes)["seconds"] for classes in CLASSES]
        slope = _slope(CLASSES, seconds)
        print(f"  {ROWS[0]:,} rows, K = {', '.join(map(str, CLASSES))}: {', '.join(f'{s:.2f}' for s in seconds)} s")
        print(f"  slope in K {slope:.2f}; target {SLOPE}: {verdict(slope <= SLOPE)}", flush=True)


if __name__ == "__main__":
    one(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
