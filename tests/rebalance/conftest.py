"""Tiny seeded problems, and what the tests of this package share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rebalance import LinearHead

COUNTS = (60, 30, 12, 5, 3)
WIDTH = 8


@dataclass(frozen=True)
class Problem:
    """A long-tailed training set, a balanced validation set, and a joint head that favours frequent classes.

    All features are exact in float16, so that a float16 copy holds the same numbers.
    """

    head: LinearHead
    features: Tensor
    labels: Tensor
    val_features: Tensor
    val_labels: Tensor

    @property
    def counts(self) -> Tensor:
        return torch.bincount(self.labels, minlength=len(COUNTS))


def make_problem(seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(len(COUNTS), WIDTH))

    def draw(counts: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
        # ReLU-like: no negative features, a common mean.
        features = np.maximum(1 + means[labels] + rng.normal(size=(len(labels), WIDTH)), 0)
        return torch.from_numpy(features.astype(np.float16).astype(np.float32)), torch.from_numpy(labels)

    features, labels = draw(COUNTS)
    val_features, val_labels = draw((12,) * len(COUNTS))
    centres = torch.stack([features[labels == k].mean(0) for k in range(len(COUNTS))])
    weight = (centres - features.mean(0)) * torch.linspace(1.6, 0.5, len(COUNTS))[:, None]
    bias = torch.tensor(COUNTS).log() / 2 - weight @ features.mean(0)
    head = LinearHead(weight, bias, record={"method": "joint", "source": "test"})
    return Problem(head, features, labels, val_features, val_labels)


@pytest.fixture(scope="session")
def problem() -> Problem:
    """The tiny problem every test may read and none may change."""
    return make_problem()


class SliceOnly:
    """An array-like that has `shape`, `len` and slices of rows, and nothing else."""

    def __init__(self, array: Any) -> None:
        self._array = np.asarray(array)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, rows: slice) -> Any:
        if not isinstance(rows, slice):
            raise TypeError(f"only slices of rows, got {type(rows).__name__}")
        return self._array[rows]


@pytest.fixture(scope="session")
def slice_only() -> type[SliceOnly]:
    return SliceOnly


@contextmanager
def _refuses(*parts: str) -> Iterator[None]:
    with pytest.raises(ValueError, match=parts[0]) as caught:
        yield
    message = str(caught.value)
    assert message.isprintable(), f"not one plain line: {message!r}"
    assert 10 < len(message) < 400
    for part in parts:
        assert re.search(part, message), f"{part!r} is not in: {message}"


@pytest.fixture(scope="session")
def refuses() -> Callable[..., AbstractContextManager[None]]:
    """`with refuses("width", "8"):` expects a ValueError of one printable line that holds every pattern."""
    return _refuses


@pytest.fixture
def float16_map(problem: Problem, tmp_path: Any) -> np.memmap[Any, Any]:
    """The training features as a read-only float16 memory map."""
    return map_float16(problem.features, tmp_path / "features.bin")


def map_float16(features: Tensor, path: Any) -> np.memmap[Any, Any]:
    features.numpy().astype(np.float16).tofile(path)
    return np.memmap(path, np.float16, "r", shape=tuple(features.shape))
