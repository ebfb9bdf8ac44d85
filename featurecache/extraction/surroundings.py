"""What the last bits of an extraction depend on beside the model and the data: device, threads, seed, versions."""

from __future__ import annotations

import importlib.metadata
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

PACKAGES = ("torch", "numpy", "pillow", "torchvision", "timm", "transformers")


def surroundings(device: torch.device, seed: int) -> dict[str, Any]:
    """Device, threads, seed and the versions of the packages that are installed, as cache.json records them."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": kind, "threads": torch.get_num_threads(), "seed": seed, "versions": versions}


@contextmanager
def same_threads(made_with: dict[str, Any] | None) -> Iterator[None]:
    """As many threads inside the block as the extraction was begun with: sums depend on how they are divided."""
    threads = (made_with or {}).get("threads")
    before = torch.get_num_threads()
    if type(threads) is int and 0 < threads <= 4096:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class SeededRows(Dataset[Any]):
    """A data set whose every row draws from generators seeded for it: alike in any order, worker and process.

    data: the rows. seed: of the extraction.
    """

    def __init__(self, data: Dataset[Any], seed: int) -> None:
        self._data, self._seed = data, seed

    def __getitem__(self, row: int) -> Any:
        seed = (self._seed * 0x9E3779B97F4A7C15 + row * 0xBF58476D1CE4E5B9) % 2**63
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 (a data set may draw from it)
        torch.default_generator.manual_seed(seed)
        return self._data[row]


@contextmanager
def own_randomness() -> Iterator[None]:
    """The caller's generators are as they were when the block ends."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
