"""An extraction small enough to be killed a thousand times, and what it gives when nobody does."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from featurecache import extract
from featurecache.plan import read_plan
from featurecache.writer import ShardWriter

WIDTH, CLASSES, BATCH = 8, 5, 3
ROWS = {"train": 70, "val": 31}
SHARD_BYTES = 700  # a few blocks: of every split there are files for all ranks
WORLDS = range(1, 7)

Tree = dict[str, bytes]
Known = dict[tuple[str, tuple[int, ...]], Tree]  # files of a split, by its name and bounds


class Pictures(Dataset[tuple[Tensor, int]]):
    """Random pictures with labels and names. seconds: that each takes to load."""

    def __init__(self, rows: int, seconds: float = 0.0) -> None:
        self.inputs = torch.randn(rows, 6, generator=torch.Generator().manual_seed(rows))
        self.labels = [row % CLASSES for row in range(rows)]
        self.sample_ids = [f"{rows}/{row}.png" for row in range(rows)]
        self._seconds = seconds

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        if self._seconds:
            time.sleep(self._seconds)
        return self.inputs[row], self.labels[row]


class Work:
    """The model and the rows; `run` is one rank's part of the extraction."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self._model = nn.Sequential(nn.Linear(6, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES))

    def run(self, cache: Path, rank: int, world: int, seconds: float = 0.0) -> None:
        """Extract, every batch a commit, into files of a few batches. seconds: that a picture takes to load."""
        splits = {name: Pictures(rows, seconds) for name, rows in ROWS.items()}
        with small_files(), patch("featurecache.writer.COMMIT_BYTES", 0):
            extract(self._model, splits, cache, batch_size=BATCH, rank=rank, world_size=world)

    def uninterrupted(self) -> Known:
        """The files of every split, for every plan of it that some number of ranks makes."""
        known: Known = {}
        for world in WORLDS:
            with tempfile.TemporaryDirectory() as folder:
                cache = Path(folder) / "whole"
                for rank in range(world):
                    self.run(cache, rank, world)
                known |= by_split(cache)
        return known


@contextmanager
def small_files() -> Iterator[None]:
    """Files of a few batches instead of 4 GiB."""
    with patch("featurecache.plan.SHARD_BYTES", SHARD_BYTES):
        yield


def tree_of(folder: Path) -> Tree:
    """Every file under a folder, by its relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def by_split(cache: Path) -> Known:
    """The files of every split that is planned, by its name and bounds."""
    plan = read_plan(cache)
    return {(name, split.bounds): tree_of(cache / name) for name, split in plan.splits.items()}


def shard_name(writer: ShardWriter) -> str:
    """SPLIT/FILE of what a writer writes."""
    return f"{writer.final.parent.name}/{writer.final.name}"
