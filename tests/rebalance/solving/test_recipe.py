"""The reference's loop, against the same steps of torch.optim on the loss that autograd differentiates."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from rebalance.rows import need_rows
from rebalance.sampling import class_balanced
from rebalance.solving.recipe import Recipe, chosen, sgd

RECIPES = {"reference": Recipe(epochs=10, rate=0.2, weight_decay=5e-4, batch=512)}
SMALL = Recipe(epochs=3, rate=0.5, weight_decay=0.0, batch=16)


def choose(name: str = "reference", batch: int | None = None, **given: Any) -> Recipe | None:
    return chosen(RECIPES, name, batch, **{"tol": None, "visits": None, "start": None, **given})


class Recorder:
    """A quadratic around each batch's mean row, which notes what it is asked."""

    def __init__(self, features: Tensor) -> None:
        self._features = features
        self.batches: list[list[int]] = []
        self.seen: list[Tensor] = []

    def __call__(self, parameters: list[Tensor], batch: Tensor) -> list[Tensor]:
        self.batches.append(batch.tolist())
        self.seen.append(parameters[0].clone())
        return [(parameters[0] - self._features[batch]).sum(dim=0)]


def test_the_steps_are_those_of_sgd_with_momentum_and_decay(problem: Any) -> None:
    rows, decay = need_rows(None, problem.features, problem.labels), 0.1
    recorder = Recorder(problem.features)
    (out,), summary = sgd(rows, SMALL, recorder, [torch.ones(8)], weight_decay=decay, seed=4)
    steps = len(problem.labels) // 16
    assert summary == {"epochs": 3, "rate": 0.5, "batch": 16, "steps": 3 * steps, "seed": 4}

    sampler = class_balanced(problem.labels, epochs=3, seed=4)
    at, momentum = torch.ones(8, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)
    for epoch in range(3):
        order = list(sampler)[: steps * 16]
        assert recorder.batches[epoch * steps : (epoch + 1) * steps] == [order[i : i + 16] for i in range(0, 96, 16)]
        for step in range(steps):
            gradient = at - problem.features[order[16 * step : 16 * step + 16]].double().mean(0) + decay * at
            momentum = 0.9 * momentum + gradient
            at = at - 0.5 * (1 + math.cos(math.pi * epoch / 3)) / 2 * momentum
    # Eighteen float32 steps.
    torch.testing.assert_close(out.double(), at, rtol=1e-5, atol=1e-5)


def test_every_parameter_is_stepped_and_decays(problem: Any) -> None:
    rows = need_rows(None, problem.features, problem.labels)
    start = [torch.ones(2), torch.full((3,), 5.0)]
    out, _ = sgd(rows, SMALL, lambda p, _batch: [torch.zeros(2), torch.zeros(3)], start, weight_decay=0.1, seed=0)
    assert bool((out[0] < 1).all())
    torch.testing.assert_close(out[1], 5 * out[0][:1].expand(3))
    assert start[0].tolist() == [1, 1]
    assert not any(each.requires_grad for each in out)


def test_fewer_rows_than_a_batch_are_one_step(problem: Any) -> None:
    features, labels = problem.features[:10], problem.labels[:10]
    recorder = Recorder(features)
    _, summary = sgd(need_rows(None, features, labels), SMALL, recorder, [torch.zeros(8)], weight_decay=0.0, seed=0)
    assert [len(batch) for batch in recorder.batches] == [10, 10, 10]
    assert summary["steps"] == 3


def test_unlabelled_rows_are_not_visited(problem: Any) -> None:
    labels = torch.where(torch.arange(110) % 3 == 0, -1, problem.labels)
    recorder = Recorder(problem.features)
    rows = need_rows(None, problem.features, labels)
    _, summary = sgd(rows, SMALL, recorder, [torch.zeros(8)], weight_decay=0.0, seed=0)
    assert summary["steps"] == 3 * (int((labels >= 0).sum()) // 16)
    assert bool((labels[[row for batch in recorder.batches for row in batch]] >= 0).all())


def test_the_first_epoch_is_at_the_full_rate_and_the_last_above_zero() -> None:
    """With a constant gradient of 1 the steps show rate and momentum."""
    features, labels = torch.zeros(16, 1), torch.zeros(16, dtype=torch.int64)
    recorder = Recorder(features)

    def gradients(parameters: list[Tensor], batch: Tensor) -> list[Tensor]:
        recorder(parameters, batch)
        return [torch.full((1,), float(len(batch)))]

    (out,), _ = sgd(need_rows(None, features, labels), SMALL, gradients, [torch.zeros(1)], weight_decay=0.0, seed=0)
    places = [float(each) for each in [*recorder.seen, out]]
    moved = [before - after for before, after in pairwise(places)]
    rates = [0.5 * (1 + math.cos(math.pi * epoch / 3)) / 2 for epoch in range(3)]
    assert rates[0] == 0.5
    assert moved == pytest.approx([rates[0], 1.9 * rates[1], 2.71 * rates[2]], rel=1e-6)


def test_the_rate_is_scaled_with_the_batch() -> None:
    assert choose() is RECIPES["reference"]
    half = choose(batch=256)
    assert half == Recipe(epochs=10, rate=0.1, weight_decay=5e-4, batch=256)
    assert choose(batch=1024).rate == pytest.approx(0.4)


def test_fast_is_no_recipe() -> None:
    assert choose("fast") is None
    assert choose("fast", tol=1e-3, visits=10, start=object()) is None


@pytest.mark.parametrize("batch", [0, -4, 2.5, float("nan"), "many"])
def test_a_batch_that_is_none_is_refused(batch: Any, refuses: Any) -> None:
    for name in ("reference", "fast"):
        with refuses("batch is", "whole number"):
            choose(name, batch=batch)


def test_what_contradicts_a_recipe_is_refused(refuses: Any) -> None:
    with refuses("recipe is 'imagenet'", "fast, reference"):
        choose("imagenet")
    with refuses("recipe", "fast"):
        choose(None)  # type: ignore[arg-type]
    with refuses("batch is 64", "fast"):
        choose("fast", batch=64)
    for given in ({"tol": 1e-3}, {"visits": 10}, {"start": object()}):
        with refuses("recipe is reference", "no tol, visits or start"):
            choose(**given)
