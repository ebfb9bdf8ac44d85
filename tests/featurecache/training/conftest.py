"""A tiny problem that the tests of training share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

ROWS = 22


@pytest.fixture(scope="session")
def rows() -> TensorDataset:
    """22 rows of 4 numbers around three centres."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(ROWS) % 3
    centres = torch.randn(3, 4, generator=generator) * 3
    return TensorDataset(centres[labels] + torch.randn(ROWS, 4, generator=generator), labels)


@pytest.fixture(scope="session")
def small() -> Callable[[], nn.Sequential]:
    """A network whose layers behave otherwise in training, always with the same weights."""

    def make() -> nn.Sequential:
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))

    return make


@pytest.fixture(scope="session")
def equal() -> Callable[[nn.Module, nn.Module], bool]:
    """Whether two models hold the same bits."""

    def compare(a: nn.Module, b: nn.Module) -> bool:
        pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
        return all(torch.equal(x, y) for x, y in pairs)

    return compare


@pytest.fixture(scope="session")
def options() -> dict[str, Any]:
    """A short training by the plain recipe."""
    return {"loss": cross_entropy, "epochs": 3, "batch_size": 7, "lr": 0.1}
