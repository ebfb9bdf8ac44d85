"""The bounded minimum: its KKT conditions, its limits, and an independent solver's answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import NonlinearConstraint, minimize

from rebalance.solving.balls import Balls, minimise_within
from rebalance.solving.objective import LinearObjective, balanced_weights
from rebalance.solving.solver import minimise

DECAY = 1e-2
TOL = 1e-4


def objective(problem: Any, decay: float = DECAY) -> LinearObjective:
    weights = balanced_weights(problem.labels, problem.counts)
    mean = problem.features.mean(dim=0)
    return LinearObjective(problem.features, problem.labels, weights, mean, num_classes=5, decay=decay)


def norms(parameters: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(parameters[:40].view(5, 8), dim=1)


def solve(problem: Any, radius: float, decay: float = DECAY, start: torch.Tensor | None = None) -> Any:
    ours = objective(problem, decay)
    return minimise_within(ours, ours.zeros() if start is None else start, Balls(5, 8, radius, 2.0), tol=TOL)


@pytest.mark.parametrize("radius", [0.2, 1.0, 2.0])
@pytest.mark.parametrize("decay", [0.0, DECAY])
def test_the_conditions_of_a_bounded_minimum(problem: Any, radius: float, decay: float) -> None:
    """No slope along what is free, a pull outwards on the bound and on it only: for a convex f, that is the minimum."""
    solution, multipliers = solve(problem, radius, decay)
    assert solution.converged
    ours = objective(problem, decay)
    _, start = ours(ours.zeros())
    _, gradient = ours(solution.parameters)
    lagrangian = gradient.clone()
    lagrangian[:40] += (multipliers[:, None] * solution.parameters[:40].view(5, 8)).flatten()
    assert float(lagrangian.abs().max()) <= TOL * float(start.abs().max())
    assert bool((multipliers >= 0).all())
    assert bool((multipliers > 0).any())
    slack = radius - norms(solution.parameters)
    assert float(slack.min()) >= -1e-6 * radius  # the rounding of a norm
    assert float(slack[multipliers > 0].max()) <= 1e-5 * radius


def test_scipy_finds_the_same_minimum(problem: Any) -> None:
    solution, _ = solve(problem, 0.8)
    x = problem.features.double().numpy()
    x = x - problem.features.mean(0).double().numpy()
    y = problem.labels.numpy()
    share = 1 / (5 * np.bincount(y))[y]

    def value(flat: Any) -> tuple[float, Any]:
        weight, bias = flat[:40].reshape(5, 8), flat[40:]
        z = x @ weight.T + bias
        z -= z.max(1, keepdims=True)
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        g = (p - np.eye(5)[y]) * share[:, None]
        loss = -(share * np.log(p[np.arange(len(y)), y])).sum() + DECAY / 2 * (weight**2).sum()
        return float(loss), np.concatenate([(g.T @ x + DECAY * weight).ravel(), g.sum(0)])

    bounds = NonlinearConstraint(
        lambda flat: (flat[:40].reshape(5, 8) ** 2).sum(1),
        -np.inf,
        0.8**2,
        jac=lambda flat: np.hstack(
            [(2 * np.eye(5)[:, :, None] * flat[:40].reshape(1, 5, 8)).reshape(5, 40), np.zeros((5, 5))]
        ),
    )
    theirs = minimize(value, np.zeros(45), jac=True, method="SLSQP", constraints=[bounds], options={"ftol": 1e-12})
    assert theirs.success
    assert solution.objective == pytest.approx(theirs.fun, rel=1e-4)
    np.testing.assert_allclose(solution.parameters[:40].numpy(), theirs.x[:40], atol=5e-3)


def test_a_wide_ball_is_no_bound(problem: Any) -> None:
    ours = objective(problem)
    free = minimise(ours, ours.zeros(), tol=TOL, precondition=ours.preconditioner())
    solution, multipliers = solve(problem, 2 * float(norms(free.parameters).max()))
    assert not bool(multipliers.any())
    assert solution.objective == pytest.approx(free.objective, rel=1e-5)
    # A gradient of 1e-4 over a curvature of 1e-2 or more.
    torch.testing.assert_close(solution.parameters, free.parameters, rtol=0, atol=2e-2)


def test_a_wider_ball_is_never_worse(problem: Any) -> None:
    values = [solve(problem, radius)[0].objective for radius in (0.1, 0.5, 1.0, 2.0, 5.0)]
    assert values == sorted(values, reverse=True)


def test_the_start_does_not_matter(problem: Any) -> None:
    far = 5 * torch.randn(45, generator=torch.Generator().manual_seed(0))
    one, other = solve(problem, 1.0)[0], solve(problem, 1.0, start=far)[0]
    assert other.objective == pytest.approx(one.objective, rel=1e-5)
    again = solve(problem, 1.0, start=one.parameters)[0]
    assert again.passes == 2  # it is the minimum already
    torch.testing.assert_close(again.parameters, one.parameters)


def test_projection_cuts_what_is_too_long_and_nothing_else() -> None:
    weight = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    bias = torch.tensor([7.0, 8.0, 9.0])
    out = Balls(3, 2, 1.0, 1.0).project(torch.cat([weight.flatten(), bias]))
    torch.testing.assert_close(out[:6].view(3, 2), torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))
    assert torch.equal(out[6:], bias)


def test_it_gives_up_and_says_so(problem: Any) -> None:
    ours = objective(problem)
    solution, _ = minimise_within(ours, ours.zeros(), Balls(5, 8, 1.0, 2.0), tol=TOL, max_passes=4)
    assert not solution.converged
    assert solution.gradient > TOL


@pytest.mark.parametrize("tol", [0.0, -1.0, float("nan")])
def test_a_tolerance_that_is_none_is_refused(problem: Any, tol: float, refuses: Any) -> None:
    ours = objective(problem)
    with refuses("tol", "above 0"):
        minimise_within(ours, ours.zeros(), Balls(5, 8, 1.0, 2.0), tol=tol)


def test_zeros_are_the_start_where_they_are_better(problem: Any) -> None:
    wild = torch.cat([1e6 * torch.ones(40), torch.linspace(0, 1e6, 5)])
    one = solve(problem, 1.0, start=wild)[0]
    assert one.objective == pytest.approx(solve(problem, 1.0)[0].objective, rel=1e-2)


def test_features_beyond_all_numbers_are_refused(problem: Any, refuses: Any) -> None:
    ours = objective(problem)
    with refuses("not finite at the start"):
        minimise_within(ours, ours.zeros(), Balls(5, 8, 1.0, float("inf")), tol=TOL)
