"""The ways cRT is trained: to the optimum, by descent, and as the reference does, step for step."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import pytest
import torch

from rebalance import LinearHead
from rebalance.methods import crt
from rebalance.methods.crt import RECIPES
from rebalance.sampling import class_balanced

DECAY = 1e-2


def objective(head: LinearHead, problem: Any) -> float:
    """The mean over classes of the class's mean cross-entropy, plus DECAY / 2 |W|^2."""
    each = torch.nn.functional.cross_entropy(head(problem.features).double(), problem.labels, reduction="none")
    mean = torch.stack([each[problem.labels == k].mean() for k in range(5)]).mean()
    return float(mean + DECAY / 2 * head.weight.double().square().sum())


def test_a_small_problem_is_solved_and_a_large_one_descended(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    solved = crt(None, problem.features, problem.labels, weight_decay=DECAY)
    assert solved.record["solver"]["recipe"] == "optimum"
    monkeypatch.setattr("rebalance.solving.trained.SMALL", 0)
    descended = crt(None, problem.features, problem.labels, weight_decay=DECAY)
    assert descended.record["solver"]["recipe"] == "fast"
    low, high = (objective(head, problem) for head in (solved, descended))
    # The start lies at log 5 = 1.6; a descent of 200 batches ends within a hundredth of it.
    assert -1e-3 <= high - low < 0.016


def test_the_descent_has_a_seed_and_the_optimum_none(problem: Any) -> None:
    one, other = (crt(None, problem.features, problem.labels, visits=2000, seed=seed).weight for seed in (0, 1))
    assert not torch.equal(one, other)
    one, other = (crt(None, problem.features, problem.labels, tol=1e-2, seed=seed).weight for seed in (0, 1))
    assert torch.equal(one, other)


def test_a_start_is_gone_on_from(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = crt(None, problem.features, problem.labels, weight_decay=DECAY, tol=1e-2)
    eager = crt(None, problem.features, problem.labels, weight_decay=DECAY, tol=1e-3)
    on = crt(None, problem.features, problem.labels, weight_decay=DECAY, tol=1e-3, start=eager)
    assert on.record["solver"]["passes"] == 2
    torch.testing.assert_close(on.weight, eager.weight)
    again = crt(None, problem.features, problem.labels, weight_decay=DECAY, tol=1e-3, start=lazy)
    assert again.record["solver"]["passes"] < eager.record["solver"]["passes"]
    # The descent: one visit at the rate of its last step changes little.
    monkeypatch.setattr("rebalance.solving.descent._rates", lambda *arguments: (1e-9, 1e-9))
    near = crt(None, problem.features, problem.labels, visits=10, start=eager)
    torch.testing.assert_close(near.weight, eager.weight, rtol=0, atol=1e-5)
    torch.testing.assert_close(near.bias, eager.bias, rtol=0, atol=1e-4)


@pytest.mark.parametrize("way", [{"tol": 1e-2}, {"visits": 100}])
@pytest.mark.parametrize("shape", [(3, 8), (5, 9)])
def test_a_start_of_another_shape_is_refused(
    problem: Any, way: dict[str, Any], shape: tuple[int, int], refuses: Any
) -> None:
    with refuses("start"):
        crt(problem.head, problem.features, problem.labels, start=LinearHead(torch.zeros(shape)), **way)


def restated(problem: Any, epochs: int, rate: float, decay: float, batch: int, seed: int) -> torch.nn.Linear:
    """The reference's loop in plain PyTorch: nn.Linear, SGD, autograd, the class-aware sampler's order."""
    features, labels = problem.features, problem.labels
    draw = torch.Generator().manual_seed(seed)
    model = torch.nn.Linear(8, 5)
    with torch.no_grad():  # nn.Linear's own distribution, from this seed
        for each in (model.weight, model.bias):
            each.copy_((2 * torch.rand(each.shape, generator=draw) - 1) / math.sqrt(8))
    optimiser = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs, eta_min=0.0)
    sampler = class_balanced(labels, epochs=epochs, seed=seed)
    steps = len(labels) // batch
    for _ in range(epochs):
        order = torch.tensor(list(islice(sampler, steps * batch)))
        for rows in order.split(batch):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(features[rows]), labels[rows]).backward()
            optimiser.step()
        schedule.step()
    return model


@pytest.mark.parametrize(
    ("recipe", "epochs", "rate", "decay"),
    [
        ("reference", 10, 0.2 * 16 / 512, 5e-4),
        ("reference-places", 10, 0.1 * 16 / 256, 5e-4),
        ("reference-inaturalist", 30, 0.2 * 16 / 512, 1e-4),
    ],
)
def test_the_reference_is_the_papers_loop(problem: Any, recipe: Any, epochs: int, rate: float, decay: float) -> None:
    head = crt(problem.head, problem.features, problem.labels, recipe=recipe, batch=16, seed=3)
    expected = restated(problem, epochs, rate, decay, 16, seed=3)
    # Up to 180 float32 steps.
    torch.testing.assert_close(head.weight, expected.weight.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head.bias, expected.bias.detach(), rtol=1e-4, atol=1e-5)
    solver = head.record["solver"]
    assert (solver["recipe"], solver["epochs"], solver["batch"], solver["seed"]) == (recipe, epochs, 16, 3)
    assert solver["rate"] == pytest.approx(rate)
    assert solver["steps"] == epochs * (110 // 16)
    assert head.record["hyperparameters"]["weight_decay"] is None


def test_the_reference_starts_as_nn_linear_does(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    still = {name: each.__class__(0, each.rate, each.weight_decay, each.batch) for name, each in RECIPES.items()}
    monkeypatch.setattr("rebalance.methods.crt.RECIPES", still, raising=False)
    monkeypatch.setitem(crt.__globals__, "RECIPES", still)
    starts = [crt(None, problem.features, problem.labels, recipe="reference", seed=seed) for seed in range(200)]
    entries = torch.cat([torch.cat([head.weight.flatten(), head.bias]) for head in starts])
    assert float(entries.abs().max()) <= 8**-0.5
    # 9,000 uniform numbers: mean and variance within five standard errors.
    assert abs(float(entries.mean())) <= 5 * 8**-0.5 / 3**0.5 / 9000**0.5
    assert float(entries.var()) == pytest.approx(1 / 24, rel=5 * (0.8 / 9000) ** 0.5)


def test_the_decay_is_the_recipes_unless_given(problem: Any) -> None:
    """With None, the number in the recipe; any other number is used, by every recipe."""
    for recipe, decay in (("fast", 5e-4), ("reference", 5e-4), ("reference-inaturalist", 1e-4)):
        unsaid, said, other = (
            crt(None, problem.features, problem.labels, recipe=recipe, weight_decay=each) for each in (None, decay, 0.1)
        )
        assert torch.equal(unsaid.weight, said.weight)
        assert float(other.weight.norm()) < float(said.weight.norm())


def test_what_contradicts_a_recipe_is_refused(problem: Any, refuses: Any) -> None:
    for wrong in ({"tol": 1e-3}, {"visits": 10}, {"start": problem.head}):
        with refuses("recipe is reference"):
            crt(None, problem.features, problem.labels, recipe="reference", **wrong)
    with refuses("batch is 64", "fast"):
        crt(None, problem.features, problem.labels, batch=64)
    with refuses("recipe is 'slow'"):
        crt(None, problem.features, problem.labels, recipe="slow")  # type: ignore[arg-type]


@pytest.mark.parametrize("way", [{"recipe": "reference", "batch": 16}, {"visits": 3000}, {"tol": 1e-3}])
def test_every_way_survives_odd_classes(problem: Any, way: dict[str, Any]) -> None:
    """A class without rows, one of one row, one whose rows are the same, and no more than two classes."""
    labels = torch.where(problem.labels == 2, -1, problem.labels)
    labels[(labels == 4).nonzero()[1:, 0]] = -1
    features = problem.features.clone()
    features[labels == 3] = features[labels == 3][0]
    head = crt(problem.head, features, labels, **way)
    assert bool(torch.isfinite(head(features)).all())
    two = crt(None, problem.features[problem.labels < 2], problem.labels[problem.labels < 2], **way)
    assert two.num_classes == 2
    right = (two(problem.val_features).argmax(1) == problem.val_labels)[problem.val_labels < 2]
    assert float(right.double().mean()) > 0.6
