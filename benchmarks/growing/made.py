"""Rows that are made by arithmetic from their number, and a model that is nearly nothing.

What an extraction of them takes is its own cost. `source_file` writes this file anew for another number of rows, for
`rebalance extract … --model file:F:model --split train=file:F:train`.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

ROWS = 10_000
PAUSE = 0.0  # seconds that a batch takes to load, besides
WIDTH, CLASSES = 64, 100
IMBALANCE = 100.0  # rows of the most frequent class for one of the rarest
POOLS = 4099, 4093  # two primes: up to 16.7 million rows no two have both remainders, and so all noise, in common
NOISE = 1.5
GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples fill the unit interval evenly: every size has the same long tail


class Made(Dataset[tuple[int, int]]):
    """Item i is (i, its class); a batch's inputs (B, D) are made at once, each the mean of its class plus noise.

    rows: N.
    """

    def __init__(self, rows: int) -> None:
        self.labels = labels_of(np.arange(rows))
        draw = np.random.default_rng(1)
        self._means = _means()
        self._noise = [NOISE * draw.standard_normal((size, WIDTH), dtype=np.float32) for size in POOLS]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[int, int]:
        return row, int(self.labels[row])

    def collate(self, items: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """The inputs (B, D) and labels (B,) of some items."""
        time.sleep(PAUSE)
        rows, labels = np.array(items, dtype=np.int64).T
        inputs = self._means[labels]
        for pool in self._noise:
            inputs = inputs + pool[rows % len(pool)]
        return torch.from_numpy(inputs), torch.from_numpy(labels)


def labels_of(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The classes (B,) of row numbers (B,)."""
    shares = IMBALANCE ** -(np.arange(CLASSES) / (CLASSES - 1))
    ends = np.cumsum(shares / shares.sum())
    found: NDArray[np.int64] = np.searchsorted(ends[:-1], rows * GOLDEN % 1.0, side="right")
    return found


def _means() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((CLASSES, WIDTH), dtype=np.float32)


def train() -> Made:
    """The data set."""
    return Made(ROWS)


def model() -> nn.Module:
    """A classifier of these rows whose weights are longer for frequent classes, as a trained one's are."""
    last = nn.Linear(WIDTH, CLASSES)
    with torch.no_grad():
        last.weight.copy_(0.15 * torch.from_numpy(_means()) * torch.linspace(1.4, 0.8, CLASSES)[:, None])
        last.bias.zero_()
    return nn.Sequential(nn.LeakyReLU(0.5), last)


def source_file(folder: Path, rows: int, *, pause: float = 0.0) -> Path:
    """A copy of this file in a folder, for so many rows. pause: seconds that every batch takes besides."""
    file = folder / f"rows_{rows}.py"
    text = Path(__file__).read_text("utf-8")
    text = text.replace("\nROWS = 10_000\n", f"\nROWS = {rows}\n").replace("\nPAUSE = 0.0 ", f"\nPAUSE = {pause} ")
    file.write_text(text, "utf-8")
    return file


def extraction(cache: Path, source: Path, *, batch: int = 1024) -> list[str]:
    """The words of the command that extracts a source file's rows."""
    split = f"train=file:{source}:train"
    words = ["extract", str(cache), "--model", f"file:{source}:model", "--split", split, "--seen", "none"]
    return [*words, "--logits", "none", "--batch-size", str(batch)]
