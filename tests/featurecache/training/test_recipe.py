"""The numbers of a run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from featurecache.training.recipe import Recipe


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"epochs": 0}, "0 epochs"),
        ({"batch_size": 1}, "batches of 1"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"mixup": float("inf")}, "mixup is inf"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"ema": 1.0}, "ema is 1.0"),
        ({"optimiser": "adam"}, "optimiser is 'adam', expected sgd or adamw"),
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, Any], part: str, refused: Any) -> None:
    with refused(part):
        Recipe(**{"epochs": 1, "batch_size": 2, "lr": 0.1, **change})


def test_its_optimisers_are_pytorchs() -> None:
    layer = nn.Linear(2, 2)
    sgd = Recipe(1, 2, 0.3, 0.01, 0.8).make_optimiser(layer.parameters())
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["lr"], sgd.defaults["momentum"], sgd.defaults["weight_decay"]) == (0.3, 0.8, 0.01)
    assert not sgd.defaults["nesterov"]
    adamw = Recipe(1, 2, 0.3, 0.01, optimiser="adamw").make_optimiser(layer.parameters())
    assert isinstance(adamw, torch.optim.AdamW)
    assert (adamw.defaults["lr"], adamw.defaults["weight_decay"]) == (0.3, 0.01)
