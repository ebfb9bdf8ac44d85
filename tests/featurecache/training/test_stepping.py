"""One epoch of steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from featurecache.training.loading import Loading
from featurecache.training.mixing import Mixup
from featurecache.training.precision import Precision
from featurecache.training.schedule import Batches, Steps
from featurecache.training.sharing import ALONE
from featurecache.training.stepping import Stepping

CPU = torch.device("cpu")


def stepping(model: nn.Module, loss: Any = cross_entropy) -> Stepping:
    optimiser = torch.optim.SGD(model.parameters(), lr=9.0)  # the schedule's rate is what counts
    return Stepping(model, model.train, optimiser, loss, Mixup(0), Precision("off", CPU), None, CPU, ALONE)


def run(at: Stepping, rows: TensorDataset, size: int = 7, epoch: int = 0) -> float:
    loading = Loading(rows, Batches(range(len(rows)), size), CPU, 0, 0)  # type: ignore[arg-type]
    return at.epoch(loading, Steps(epoch, 2, len(loading), 0.1, None))


def test_the_mean_of_the_losses_comes_back(rows: TensorDataset, small: Callable[[], nn.Module]) -> None:
    seen = []

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        value = cross_entropy(logits, labels)
        seen.append(float(value.detach()))
        return value

    assert run(stepping(small(), loss), rows) == pytest.approx(sum(seen) / 3, rel=1e-6)
    assert len(seen) == 3  # of 22 rows in sevens one is left out


def test_the_rates_are_the_schedules(rows: TensorDataset) -> None:
    at = stepping(nn.Linear(4, 3))
    rates = []
    at.optimiser.register_step_pre_hook(lambda *_: rates.append(at.optimiser.param_groups[0]["lr"]))
    run(at, rows, epoch=1)
    assert rates == [Steps(1, 2, 3, 0.1, None).rate(step) for step in range(3)]


def test_a_loss_that_is_no_number_names_its_step(rows: TensorDataset, refused: Any) -> None:
    calls = iter(range(9))

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels) * (float("inf") if next(calls) == 1 else 1)

    with refused("the loss is inf in epoch 1, step 2; lower --lr (now 0.1)"):
        run(stepping(nn.Linear(4, 3), loss), rows)


class Keyed(nn.Module):
    """Takes keyword arguments and returns an object with logits, as transformers' models do."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, *, rows: Tensor, scale: Tensor) -> dict[str, Tensor]:
        return {"logits": self.fc(rows) * scale[:, None]}


def test_inputs_may_be_a_mapping(rows: TensorDataset) -> None:
    items = [({"rows": row, "scale": torch.tensor(2.0)}, label) for row, label in rows]  # type: ignore[misc]
    model, plain = Keyed(), nn.Linear(4, 3)
    plain.load_state_dict(model.fc.state_dict())
    loading = Loading(items, Batches(range(22), 7), CPU, 0, 0)  # type: ignore[arg-type]
    stepping(model).epoch(loading, Steps(0, 2, 3, 0.1, None))
    twice = stepping(nn.Sequential(plain, Double()))
    run(twice, rows)
    torch.testing.assert_close(model.fc.weight, plain.weight)


class Double(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return 2 * values


def test_what_the_steps_share_cannot_be_swapped(small: Callable[[], nn.Module]) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        stepping(small()).device = CPU  # type: ignore[misc]
