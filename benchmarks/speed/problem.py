"""The data of the benchmarks: a long-tailed problem made from a seed, kept as a cache, and its joint head."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featurecache import FeatureCache, write
from rebalance import LinearHead
from speed.reference import joint_head

SEED = 0
LATENT = 96  # dimensions in which the class means lie
BLOCK = 4096  # rows made at a time


@dataclass(frozen=True)
class Size:
    """How large a problem is.

    rows: training rows, N. width: D. classes: K. largest, smallest: training rows of the ends of the tail. val, test:
    rows a class.
    """

    rows: int
    width: int
    classes: int
    largest: int
    smallest: int
    val: int
    test: int

    def __str__(self) -> str:
        return f"{self.rows:,} x {self.width:,}, K = {self.classes:,}"


S = Size(rows=115_846, width=2048, classes=1000, largest=1280, smallest=5, val=20, test=50)  # as ImageNet-LT
INATURALIST = Size(rows=437_513, width=2048, classes=8142, largest=1000, smallest=2, val=3, test=3)  # as its 2018 data
REDUCED = Size(rows=20_000, width=256, classes=50, largest=1280, smallest=5, val=20, test=50)


def tail(size: Size) -> Tensor:
    """Training rows a class (K,), descending: max(smallest, round(largest exp(-a (k / (K-1))^0.6))), a such that they
    sum to N; ValueError when no a does."""
    place = (np.arange(size.classes) / (size.classes - 1)) ** 0.6
    low, high = 0.0, 50.0
    for _ in range(200):
        middle = (low + high) / 2
        counts = np.maximum(size.smallest, np.round(size.largest * np.exp(-middle * place))).astype(np.int64)
        if counts.sum() == size.rows:
            return torch.from_numpy(counts)
        low, high = (middle, high) if counts.sum() > size.rows else (low, middle)
    raise ValueError(f"{size}: no tail from {size.largest} to {size.smallest} rows sums to {size.rows}")


class Maker:
    """Rows of one problem, drawn in one sequence from one seed on one device."""

    def __init__(self, size: Size, device: torch.device, seed: int = SEED) -> None:
        self._random = torch.Generator(device).manual_seed(seed)
        self._device = device
        order = torch.randperm(size.classes, generator=self._random, device=device)
        self.counts = tail(size).to(device)[order]
        self.size = size
        self._means = 0.40 * self._normal(size.classes, LATENT)
        self._mix = self._normal(LATENT, size.width) / LATENT**0.5

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._random, device=self._device)

    def labels(self, split: str) -> Tensor:
        """The labels of a split, shuffled."""
        each = {"train": self.counts, "val": torch.tensor(self.size.val), "test": torch.tensor(self.size.test)}[split]
        classes = torch.arange(self.size.classes, device=self._device)
        labels = classes.repeat_interleave(each.to(self._device).expand(len(classes)))
        return labels[torch.randperm(len(labels), generator=self._random, device=self._device)]

    def blocks(self, labels: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Features in float16 of rows with these labels, in order."""
        for start in range(0, len(labels), BLOCK):
            part = slice(start, min(start + BLOCK, len(labels)))
            latent = self._means[labels[part]] + self._normal(part.stop - part.start, LATENT)
            rows = latent @ self._mix - 0.6
            rows += 0.15 * self._normal(*rows.shape)
            yield part, rows.relu_().half()


@dataclass(frozen=True)
class Problem:
    """A problem of size S in its cache."""

    path: Path

    @cached_property
    def cache(self) -> FeatureCache:
        return FeatureCache(self.path)

    @cached_property
    def head(self) -> LinearHead:
        """The joint head."""
        return LinearHead(*self.cache.head)

    def rows(self, split: str) -> tuple[Any, Any]:
        """Features (float16, a memory map) and labels, as the cache gives them."""
        return self.cache[split].features, self.cache[split].labels

    def tensors(self, split: str) -> tuple[Tensor, Tensor]:
        """Features in float32 and labels, in memory: what the other side gets."""
        features, labels = self.rows(split)
        return torch.from_numpy(features.astype(np.float32)), torch.from_numpy(labels)


def problem(work: Path) -> Problem:
    """The problem of size S, made in this folder if it is not there; ValueError when it holds another."""
    path = work / "cache"
    if not path.exists():
        part = work / f"cache.{os.getpid()}.part"
        try:
            _make(S, part)
            part.rename(path)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    made = Problem(path)
    features, _ = made.rows("train")
    if (*features.shape, made.cache.num_classes) != (S.rows, S.width, S.classes):
        shape = " x ".join(map(str, features.shape))
        raise ValueError(f"{path}: {shape}, K = {made.cache.num_classes}; expected {S}: give another folder as --work")
    return made


def _make(size: Size, path: Path) -> None:
    """Write the cache: the rows go to plain files first, for the head is trained before the cache begins."""
    path.mkdir(parents=True)
    maker = Maker(size, torch.device("cpu"))
    made = {}
    for split in ("train", "val", "test"):
        labels = maker.labels(split)
        file = np.lib.format.open_memmap(
            path / f"{split}.npy", mode="w+", dtype=np.float16, shape=(len(labels), size.width)
        )
        for part, rows in maker.blocks(labels):
            file[part] = rows.numpy()
        made[split] = file, labels
    train, labels = made["train"]
    head = joint_head(torch.from_numpy(train), labels, size.classes, seed=SEED)
    for split, (file, labels) in made.items():
        write(path, split, file, labels, head=head)
        (path / f"{split}.npy").unlink()
