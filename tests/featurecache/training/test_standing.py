"""What a training keeps: the best epoch, and a state that fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from featurecache.training.averaging import Average
from featurecache.training.precision import Precision
from featurecache.training.sharing import ALONE
from featurecache.training.standing import Standing
from featurecache.training.state import read_state, write_state

CPU = torch.device("cpu")


def standing(model: nn.Module, average: Average | None = None) -> Standing:
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return Standing(model, optimiser, Precision("off", CPU), average, range(4), CPU, {"a": 1})


def stepped(at: Standing) -> Standing:
    at.optimiser.zero_grad()
    sum(p.square().sum() for p in at.model.parameters()).backward()  # type: ignore[union-attr]
    at.optimiser.step()
    return at


@pytest.mark.parametrize(
    ("scores", "best"), [([1.0, 3.0, 2.0], 1), ([2.0, 2.0, 1.0], 1), ([1.0, 1.0, 1.0], 2), ([3.0, 2.0, 1.0], 0)]
)
def test_the_best_epoch_is_that_of_the_highest_score_the_later_of_equals(
    scores: list[float], best: int, small: Callable[[], nn.Module]
) -> None:
    at, weights = standing(small()), []
    for epoch, score in enumerate(scores):
        stepped(at)
        weights.append(next(at.model.parameters()).detach().clone())
        at.close_epoch({"epoch": epoch, "score": score})
    found = at.take_best()
    assert (found.epoch, found.score) == (best, scores[best])
    assert torch.equal(next(at.model.parameters()), weights[best])


def test_the_averaged_weights_are_taken_where_there_are_some(small: Callable[[], nn.Module], equal: Any) -> None:
    for score in (None, 0.5):
        model = small()
        average = Average(model, 0.5)
        at = stepped(standing(model, average))
        average.update()
        at.close_epoch({"epoch": 0, "score": score})
        assert not equal(model, average.module)
        at.take_best()
        assert equal(model, average.module)


def test_without_an_epoch_there_is_no_best(small: Callable[[], nn.Module], refused: Any) -> None:
    with refused("no epoch has been trained"):
        standing(small()).take_best()


def test_where_no_file_is_it_begins(tmp_path: Path, small: Callable[[], nn.Module]) -> None:
    at = standing(small())
    at.resume(tmp_path / "none", ALONE)
    at.resume(None, ALONE)
    assert at.history == []


def edited(path: Path, **change: Any) -> None:
    write_state(path, {"a": 1}, {**read_state(path), **change})


@pytest.mark.parametrize(
    "change",
    [
        {"model": {}},
        {"optimiser": {"state": {}, "param_groups": []}},
        {"generators": {}},
        {"history": 3},
        {"best": [1]},
        {"sampler": {"place": 3}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_state_that_does_not_fit_is_refused(
    change: dict[str, Any], tmp_path: Path, small: Callable[[], nn.Module], refused: Any
) -> None:
    path = tmp_path / "x"
    at = stepped(standing(small()))
    at.close_epoch({"epoch": 0, "score": 1.0})
    at.save(path)
    edited(path, **change)
    with refused("does not fit this training"):
        standing(small()).resume(path, ALONE)


def test_momentum_of_another_shape_is_refused(tmp_path: Path, small: Callable[[], nn.Module], refused: Any) -> None:
    path = tmp_path / "x"
    at = stepped(standing(small()))
    at.close_epoch({"epoch": 0, "score": 1.0})
    at.save(path)
    optimiser = read_state(path)["optimiser"]
    optimiser["state"][0]["momentum_buffer"] = torch.zeros(1, 1)
    edited(path, optimiser=optimiser)
    with refused("does not fit this training"):
        standing(small()).resume(path, ALONE)
