"""What is done to a cache while the disk fails: extract it, add a split, write arrays, share the work of two ranks."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn
from torch.utils.data import TensorDataset

from featurecache import FeatureCache, extract, plan, write, writer
from featurecache.shards import checksums
from featurecache.writing import table

from .disks import Disk, on

INPUT, WIDTH, CLASSES = 12, 530, 3  # a block of float32 features crosses pages
BATCH = 4
ROWS = {"train": 34, "val": 6}  # of five shards and of one
ROW_BYTES = 4 * (WIDTH + CLASSES)


@contextmanager
def small(*, background: bool = False) -> Iterator[None]:
    """Small shards, every block committed at once, no thread that would make the order of reads a matter of chance.

    background: commits run beside the writing, as they do with larger blocks; then chance has its part.
    The versions of packages, which take half of so small an extraction's time, are looked up once.
    """
    changes = [
        (writer, "COMMIT_BYTES", 1 if background else 0),
        (plan, "SHARD_BYTES", 2 * BATCH * ROW_BYTES),
        (table, "BLOCK_ROWS", BATCH),
        (checksums, "THREADS", 1),
        (importlib.metadata, "version", cache(importlib.metadata.version)),
    ]
    with ExitStack() as stack:
        for module, name, value in changes:
            stack.enter_context(patch.object(module, name, value))
        yield


class Source:
    """The model and its data. Both are the same in every run."""

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(0)
        self.model = nn.Sequential(nn.Linear(INPUT, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES))
        with torch.no_grad():
            for tensor in self.model.parameters():
                tensor.copy_(torch.randn(tensor.shape, generator=random))
        self.data = {
            name: TensorDataset(torch.randn(rows, INPUT, generator=random), torch.arange(rows) % CLASSES)
            for name, rows in ROWS.items()
        }

    def extract(
        self, cache: Path, names: Iterable[str], rank: int = 0, world_size: int = 1, batch_size: int = BATCH
    ) -> int:
        """Extract these splits; the rows that were computed."""
        splits = {name: self.data[name] for name in names}
        done = extract(
            self.model, splits, cache, batch_size=batch_size, dtype="float32", rank=rank, world_size=world_size
        )
        return sum(done.written.values())

    def write(self, cache: Path) -> int:
        """Write the rows of train from arrays; how many there were to write."""
        inputs, labels = self.data["train"].tensors
        with torch.no_grad():
            features = self.model[:2](inputs)
        last = self.model[2]
        logits = features @ last.weight.detach().T + last.bias.detach()
        try:
            write(cache, "train", features, labels, logits=logits, head=last, dtype="float32")
        except ValueError as error:
            if "is already there" not in str(error):
                raise
            return 0
        return len(labels)


@dataclass(frozen=True)
class Scenario:
    """Something that is done to a cache.

    name: in words. run: does it, given the folder. resume: does what is left; the rows that were computed. base: the
    folder to begin with, None where there is none. splits: those that are there at the end. keeps: whether committed
    rows are gone on with. ran: every file after an uninterrupted run. wanted: every file in the end.
    """

    name: str
    run: Callable[[Path], int]
    resume: Callable[[Path], int]
    base: Path | None
    splits: tuple[str, ...]
    keeps: bool = True
    ran: dict[str, bytes] = field(default_factory=dict)
    wanted: dict[str, bytes] = field(default_factory=dict)

    def begin(self, cache: Path) -> None:
        """Put the folder into its first state."""
        shutil.rmtree(cache, ignore_errors=True)
        if self.base is not None:
            shutil.copytree(self.base, cache)

    @property
    def rows(self) -> int:
        """Rows of the finished cache."""
        return sum(ROWS[name] for name in self.splits)

    def tried(self, work: Path) -> Scenario:
        """The same, with what it makes on a disk that works; that is verified."""
        whole = work / "whole"
        self.begin(whole)
        self.run(whole)
        ran = tree(whole)
        self.resume(whole)
        FeatureCache(whole, verify=True)
        wanted = tree(whole)
        shutil.rmtree(whole)
        return replace(self, ran=ran, wanted=wanted)


def extraction(work: Path) -> Scenario:
    """Two splits of several shards, from nothing."""
    source = Source()
    run = partial(source.extract, names=ROWS)
    return Scenario("extract", run, run, None, tuple(ROWS)).tried(work)


def addition(work: Path) -> Scenario:
    """A split more in a cache that has one."""
    source, base = Source(), work / "one split"
    source.extract(base, ["train"])
    run = partial(source.extract, names=ROWS)
    return Scenario("add a split", run, run, base, tuple(ROWS)).tried(work)


def shared(work: Path) -> Scenario:
    """The share of one of two processes; the other goes on, and then one alone does what is left."""
    source = Source()
    run = partial(source.extract, names=ROWS, world_size=2)
    return Scenario(
        "one of two ranks",
        run,
        lambda cache: run(cache, rank=1) + source.extract(cache, ROWS),
        None,
        tuple(ROWS),
    ).tried(work)


def arrays(work: Path) -> Scenario:
    """A cache from arrays, which is all or nothing."""
    source = Source()
    return Scenario("write arrays", source.write, source.write, None, ("train",), keeps=False).tried(work)


def operations(scenario: Scenario, work: Path) -> list[str]:
    """The names of the file operations of an uninterrupted run that change something, in their order."""
    disk = Disk()
    scenario.begin(work / "cache")
    with on(disk):
        scenario.run(work / "cache")
    return disk.names


def tree(folder: Path) -> dict[str, bytes]:
    """Every file under a folder as bytes, by its relative path; folders end in a slash."""
    found = [(path.relative_to(folder).as_posix(), path) for path in sorted(folder.rglob("*"))]
    return {
        name if path.is_file() else f"{name}/": path.read_bytes() if path.is_file() else b"" for name, path in found
    }
