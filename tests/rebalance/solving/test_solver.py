"""The solver finds known minima, agrees with other minimisers, stops when told, and says how far it came."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rebalance.classes import class_counts
from rebalance.solving.objective import LinearObjective, balanced_weights
from rebalance.solving.solver import SEARCHES, minimise


class Quadratic:
    """0.5 x'Ax - b'x with a known minimum; counts how often it was read."""

    def __init__(self, condition: float, size: int = 12, scale: float = 1.0) -> None:
        generator = torch.Generator().manual_seed(0)
        turn, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
        values = scale * torch.logspace(0, math.log10(condition), size, dtype=torch.float64)
        self.matrix = turn @ torch.diag(values) @ turn.T
        self.minimum = torch.randn(size, generator=generator, dtype=torch.float64)
        self.reads = 0

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.reads += 1
        away = x.double() - self.minimum
        return 0.5 * away @ self.matrix @ away, (self.matrix @ away).to(x)


class Counted:
    """An objective that remembers every value it gave."""

    def __init__(self, objective: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        self._objective = objective
        self.values: list[float] = []

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = self._objective(x)
        self.values.append(float(value))
        return value, gradient


def soft_problem(seed: int, decay: float = 1e-2, size: int = 60) -> LinearObjective:
    """Softmax regression on random rows whose columns differ in size, as those of a network do."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (size,), generator=generator)
    labels[:4] = torch.arange(4)
    features = torch.randn(size, 6, generator=generator) * torch.logspace(0, -1, 6) + 0.5 * labels[:, None] + 2
    weights = balanced_weights(labels, class_counts(labels, 4))
    return LinearObjective(features, labels, weights, features.mean(0), num_classes=4, decay=decay)


@pytest.mark.parametrize("condition", [1.0, 100.0])
@pytest.mark.parametrize("tol", [1e-2, 1e-5])
def test_a_quadratic_is_minimised_to_the_tolerance(condition: float, tol: float) -> None:
    quadratic = Quadratic(condition)
    start = torch.zeros(12)
    _, first = quadratic(start)
    solution = minimise(quadratic, start, tol=tol)
    assert solution.converged
    assert solution.gradient <= tol
    _, last = quadratic(solution.parameters)
    assert float(last.abs().max() / first.abs().max()) == pytest.approx(solution.gradient, rel=1e-6)
    # |x - x*|_inf <= |A^-1| |g|_2 with the smallest eigenvalue 1 and 12 entries of at most tol * scale each.
    assert (solution.parameters - quadratic.minimum).abs().max() <= tol * float(first.abs().max()) * 12**0.5
    assert solution.objective == pytest.approx(float(quadratic(solution.parameters)[0]))


def test_with_the_inverse_as_preconditioner_one_step_is_enough() -> None:
    quadratic = Quadratic(1e6)
    inverse = torch.linalg.inv(quadratic.matrix)
    start = torch.zeros(12, dtype=torch.float64)
    solution = minimise(quadratic, start, tol=1e-9, precondition=lambda g: inverse @ g)
    assert solution.passes == 2
    torch.testing.assert_close(solution.parameters, quadratic.minimum, rtol=0, atol=1e-8)


@pytest.mark.parametrize("wrong", [1e-3, 1e3])
def test_a_preconditioner_of_the_wrong_size_only_costs_passes(wrong: float) -> None:
    quadratic = Quadratic(10.0)
    solution = minimise(quadratic, torch.zeros(12), tol=1e-4, precondition=lambda g: wrong * g)
    assert solution.converged
    assert solution.passes < 50


@pytest.mark.parametrize("preconditioned", [True, False])
@pytest.mark.parametrize("decay", [1e-1, 1e-3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_other_minimisers_find_nothing_lower(preconditioned: bool, decay: float, seed: int) -> None:
    objective = soft_problem(seed, decay)
    precondition = objective.preconditioner() if preconditioned else None
    solution = minimise(objective, objective.zeros(), tol=1e-3, precondition=precondition)
    assert solution.converged

    def in_double(x: Any) -> tuple[float, Any]:
        value, gradient = objective(torch.from_numpy(x).float())
        return float(value), gradient.double().numpy()

    other = scipy.optimize.minimize(in_double, np.zeros(28), jac=True, method="L-BFGS-B", options={"maxiter": 2000})
    parameters = objective.zeros().requires_grad_(True)
    torchs = torch.optim.LBFGS([parameters], lr=1.0, max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> float:
        value, parameters.grad = objective(parameters.detach())
        return float(value)

    torchs.step(closure)
    # |f - f*| <= |g|^2 / (2 mu) with a curvature of the decay at least; float32 logits let the values differ by 1e-7.
    _, gradient = objective(solution.parameters)
    error = float(gradient.square().sum()) / (2 * decay) + 1e-6
    assert error < 1e-3
    assert solution.objective <= other.fun + error
    assert solution.objective <= float(objective(parameters.detach())[0]) + error


def test_the_preconditioner_saves_passes() -> None:
    objective = soft_problem(0, 1e-4, size=200)
    plain, better = (
        minimise(objective, objective.zeros(), tol=1e-3, precondition=each).passes
        for each in (None, objective.preconditioner())
    )
    assert better < plain


@settings(max_examples=30)
@given(st.integers(0, 99), st.integers(2, 12), st.booleans(), st.floats(-20, 20))
def test_it_is_never_worse_than_the_start_and_keeps_to_its_budget(
    seed: int, budget: int, preconditioned: bool, away: float
) -> None:
    objective = soft_problem(seed)
    counted = Counted(objective)
    start = away * torch.randn(28, generator=torch.Generator().manual_seed(seed))
    precondition = objective.preconditioner() if preconditioned else None
    solution = minimise(counted, start, tol=1e-4, max_passes=budget, precondition=precondition)
    assert solution.passes == len(counted.values) <= budget
    # Values of float32 logits of 100 err by 1e-6 of them.
    assert solution.objective <= float(objective(start)[0]) * (1 + 1e-6)
    assert solution.objective == float(objective(solution.parameters)[0])
    assert solution.converged == (solution.gradient <= 1e-4)


@settings(max_examples=30)
@given(st.integers(0, 99), st.floats(-3, 0))
def test_a_tolerance_that_is_met_is_met(seed: int, exponent: float) -> None:
    objective, tol = soft_problem(seed), 10**exponent
    solution = minimise(objective, objective.zeros(), tol=tol, precondition=objective.preconditioner())
    _, first = objective(objective.zeros())
    _, last = objective(solution.parameters)
    assert solution.converged
    assert float(last.abs().max()) <= tol * float(first.abs().max()) * (1 + 1e-6)
    if tol == 1:
        assert solution.passes == 1


def test_a_smaller_tolerance_takes_more_passes() -> None:
    passes = [minimise(Quadratic(100.0), torch.zeros(12), tol=tol).passes for tol in (1e-1, 1e-5)]
    assert passes[0] < passes[1]


@pytest.mark.parametrize("start", [torch.zeros(12), torch.ones(12)])
@pytest.mark.parametrize("max_passes", [2, 3, 5, 500])
def test_passes_are_how_often_the_objective_was_read(start: Tensor, max_passes: int) -> None:
    quadratic = Quadratic(1e4)
    solution = minimise(quadratic, start, tol=1e-6, max_passes=max_passes)
    assert solution.passes == quadratic.reads <= max_passes
    assert solution.converged == (max_passes == 500)
    assert (solution.gradient <= 1e-6) == solution.converged


def test_an_unreachable_tolerance_is_not_claimed() -> None:
    solution = minimise(Quadratic(100.0), torch.zeros(12), tol=1e-30, max_passes=50)
    assert not solution.converged
    assert solution.gradient > 1e-30


def test_a_start_at_the_minimum_stays_there() -> None:
    quadratic = Quadratic(10.0)
    start = quadratic.minimum.clone()
    solution = minimise(quadratic, start, tol=1e-3)
    assert solution.converged
    assert torch.equal(solution.parameters, start)
    assert solution.gradient == 0
    assert solution.passes == 2


@pytest.mark.parametrize("start", [torch.zeros(3), torch.ones(3)])
def test_a_flat_objective_is_at_its_minimum(start: Tensor) -> None:
    solution = minimise(lambda x: (torch.tensor(7.0, dtype=torch.float64), torch.zeros_like(x)), start, tol=1e-3)
    assert solution.converged
    assert (solution.objective, solution.gradient) == (7.0, 0.0)
    assert torch.equal(solution.parameters, start)


def test_an_objective_that_does_not_fall_ends_the_search() -> None:
    """A gradient that promises what the values do not keep, as rounding does, must not hold it up."""
    counted = Counted(lambda x: (torch.tensor(1.0, dtype=torch.float64), torch.ones_like(x)))
    solution = minimise(counted, torch.zeros(3), tol=1e-3)
    assert not solution.converged
    assert torch.equal(solution.parameters, torch.zeros(3))
    assert len(counted.values) <= 1 + SEARCHES


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
def test_the_size_of_the_values_does_not_matter(scale: float) -> None:
    quadratic = Quadratic(50.0, scale=scale)
    solution = minimise(quadratic, torch.zeros(12), tol=1e-4)
    assert solution.converged
    torch.testing.assert_close(solution.parameters.double(), quadratic.minimum, rtol=0, atol=1e-2)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("preconditioned", [True, False])
def test_the_size_of_the_parameters_does_not_matter(scale: float, preconditioned: bool) -> None:
    quadratic = Quadratic(50.0)

    def stretched(x: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = quadratic(x.double() / scale)
        return value, (gradient / scale).float()

    precondition = (lambda g: scale**2 * g) if preconditioned else None
    solution = minimise(stretched, torch.zeros(12), tol=1e-4, precondition=precondition)
    assert solution.converged
    assert solution.passes < 80
    torch.testing.assert_close(solution.parameters.double() / scale, quadratic.minimum, rtol=0, atol=1e-2)


def test_what_is_not_convex_ends_at_a_stationary_point() -> None:
    def rosenbrock(p: Tensor) -> tuple[Tensor, Tensor]:
        x, y = p
        gradient = torch.stack([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])
        return (1 - x) ** 2 + 100 * (y - x * x) ** 2, gradient

    solution = minimise(rosenbrock, torch.tensor([-1.2, 1.0], dtype=torch.float64), tol=1e-9)
    assert solution.converged
    torch.testing.assert_close(solution.parameters, torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-5)


def test_the_start_is_left_alone_and_the_result_repeats_bit_for_bit() -> None:
    start = torch.ones(12)
    first, again = (minimise(Quadratic(100.0), start, tol=1e-4) for _ in range(2))
    assert torch.equal(start, torch.ones(12))
    assert torch.equal(first.parameters, again.parameters)
    assert first.summary() == again.summary()
    assert not first.parameters.requires_grad


@pytest.mark.parametrize(
    ("value", "gradient"), [(torch.nan, 0.0), (torch.inf, 1.0), (0.0, torch.nan), (0.0, torch.inf)]
)
def test_a_start_that_is_not_finite_is_refused(value: float, gradient: float, refuses: Any) -> None:
    def broken(x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tensor(value, dtype=torch.float64), torch.full_like(x, gradient)

    with refuses("not finite"):
        minimise(broken, torch.zeros(3), tol=1e-3)


def test_one_bad_entry_of_the_gradient_is_enough(refuses: Any) -> None:
    def broken(x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros((), dtype=torch.float64), torch.tensor([1.0, torch.nan, 0.0])

    with refuses("not finite"):
        minimise(broken, torch.zeros(3), tol=1e-3)


@pytest.mark.parametrize("tol", [0.0, -1e-3, float("nan")])
def test_a_tolerance_that_is_none_is_refused(tol: float, refuses: Any) -> None:
    with refuses("tol is"):
        minimise(Quadratic(10.0), torch.zeros(12), tol=tol)


def test_a_start_near_the_minimum_is_not_measured_by_its_own_small_gradient() -> None:
    quadratic = Quadratic(100.0)
    near = (quadratic.minimum + 1e-4).float()
    solution = minimise(quadratic, near, tol=1e-3)
    assert solution.converged
    _, at_zero = quadratic(torch.zeros(12))
    _, at_end = quadratic(solution.parameters)
    assert solution.gradient == pytest.approx(float(at_end.abs().max() / at_zero.abs().max()), rel=1e-6)


def test_the_summary_is_plain() -> None:
    summary = minimise(Quadratic(10.0), torch.zeros(12), tol=1e-3).summary()
    assert {name: type(value) for name, value in summary.items()} == {
        "objective": float,
        "gradient": float,
        "passes": int,
        "converged": bool,
    }
