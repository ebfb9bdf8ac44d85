"""Which way the methods that train a head take, and what they say of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rebalance import LinearHead
from rebalance.rows import need_rows
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.objective import LinearObjective, class_weights
from rebalance.solving.trained import refuse_solver, train


def run(problem: Any, shares: Any = None, loss: SoftmaxLoss | None = None, **options: Any) -> Any:
    rows = need_rows(None, problem.features, problem.labels)
    given: dict[str, Any] = {"weight_decay": 1e-2, "tol": None, "visits": None, "seed": 0, **options}
    return train(rows, torch.ones(5) if shares is None else shares, loss or SoftmaxLoss(), **given)


def test_a_small_problem_is_solved_to_its_optimum(problem: Any) -> None:
    _, _, solver = run(problem)
    assert solver["recipe"] == "optimum"
    assert solver["converged"]
    assert solver["gradient"] <= 1e-3


def test_a_large_one_is_descended(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 110 * 8 * 5
    monkeypatch.setattr("rebalance.solving.trained.SMALL", size)
    assert run(problem)[2]["recipe"] == "optimum"
    monkeypatch.setattr("rebalance.solving.trained.SMALL", size - 1)
    assert run(problem)[2] == {
        "recipe": "fast",
        "visits": 200 * 512,
        "batch": 512,
        "seed": 0,
        "products": run(problem)[2]["products"],
    }


def test_a_tolerance_asks_for_the_optimum_and_visits_for_the_descent(
    problem: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(problem, visits=700)[2]["visits"] == 700
    monkeypatch.setattr("rebalance.solving.trained.SMALL", 0)
    solver = run(problem, tol=1e-2)[2]
    assert solver["recipe"] == "optimum"
    assert solver["gradient"] <= 1e-2
    # Both: the optimum is asked for, and no visit is counted.
    assert run(problem, tol=1e-2, visits=700)[2] == solver


def test_shares_and_loss_are_those_of_the_objective(problem: Any) -> None:
    shares, loss = torch.tensor([5.0, 1.0, 1.0, 1.0, 2.0]), SoftmaxLoss(smoothing=torch.full((5,), 0.1))
    weight, bias, solver = run(problem, shares, loss, tol=1e-3)
    rows = need_rows(None, problem.features, problem.labels)
    weights = class_weights(rows.labels, rows.counts, shares)
    objective = LinearObjective(
        problem.features, rows.labels, weights, rows.mean.float(), num_classes=5, decay=1e-2, loss=loss
    )
    value, gradient = objective(objective.join(weight, bias))
    _, start = objective(objective.zeros())
    # The bias is taken to the features as they are and back.
    assert float(value) == pytest.approx(solver["objective"], rel=1e-6)
    assert float(gradient.abs().max()) <= 1.1e-3 * float(start.abs().max())


def test_the_optimum_as_start_is_kept(problem: Any) -> None:
    weight, bias, solver = run(problem, tol=1e-3)
    again, shift, found = run(problem, tol=2e-3, start=LinearHead(weight, bias))
    assert found["passes"] == 2 < solver["passes"]
    assert torch.equal(again, weight)
    torch.testing.assert_close(shift, bias, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight_decay", -1e-3),
        ("weight_decay", float("nan")),
        ("weight_decay", float("inf")),
        ("tol", 0.0),
        ("tol", -1.0),
        ("tol", float("nan")),
        ("tol", float("inf")),
        ("visits", 0),
        ("visits", -5),
        ("visits", 1.5),
        ("visits", float("nan")),
        ("seed", -1),
        ("seed", 0.5),
        ("seed", float("nan")),
    ],
)
def test_values_that_make_no_sense_are_refused(name: str, value: float, refuses: Any) -> None:
    fine: dict[str, Any] = {"weight_decay": 1e-3, "tol": 1e-3, "visits": 10, "seed": 0}
    refuse_solver(**fine)
    refuse_solver(**{**fine, "tol": None, "visits": None, "weight_decay": 0.0})
    with refuses(f"{name} is", "expected"):
        refuse_solver(**{**fine, name: value})
