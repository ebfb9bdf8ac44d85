"""The solver finds known minima, stops when told, and is honest about how far it came."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rebalance.solver import minimise


class Quadratic:
    """0.5 x'Ax - b'x with a known minimum; counts how often it was read."""

    def __init__(self, condition: float, size: int = 12) -> None:
        generator = torch.Generator().manual_seed(0)
        turn, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
        self.matrix = turn @ torch.diag(torch.logspace(0, torch.tensor(condition).log10(), size).double()) @ turn.T
        self.minimum = torch.randn(size, generator=generator, dtype=torch.float64)
        self.reads = 0

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.reads += 1
        away = x.double() - self.minimum
        return 0.5 * away @ self.matrix @ away, (self.matrix @ away).to(x)


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


def test_a_smaller_tolerance_takes_more_passes() -> None:
    passes = [minimise(Quadratic(100.0), torch.zeros(12), tol=tol).passes for tol in (1e-1, 1e-5)]
    assert passes[0] < passes[1]


def test_passes_are_how_often_the_objective_was_read() -> None:
    quadratic = Quadratic(100.0)
    solution = minimise(quadratic, torch.zeros(12), tol=1e-4)
    assert solution.passes == quadratic.reads


@pytest.mark.parametrize("max_passes", [1, 2, 5])
def test_giving_up_early_is_said(max_passes: int) -> None:
    quadratic = Quadratic(1e4)
    solution = minimise(quadratic, torch.zeros(12), tol=1e-6, max_passes=max_passes)
    assert not solution.converged
    assert solution.gradient > 1e-6
    # The line search under way may end: it takes 25 evaluations at most.
    assert quadratic.reads <= max_passes + 27


def test_an_unreachable_tolerance_is_not_claimed() -> None:
    solution = minimise(Quadratic(100.0), torch.zeros(12), tol=1e-30, max_passes=50)
    assert not solution.converged


def test_a_start_at_the_minimum_stays_there() -> None:
    quadratic = Quadratic(10.0)
    start = quadratic.minimum.clone()
    solution = minimise(quadratic, start, tol=1e-3)
    assert solution.converged
    assert torch.equal(solution.parameters, start)
    assert solution.gradient == 0


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


def test_one_bad_entry_of_the_gradient_is_enough(refuses: Any) -> None:
    def broken(x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros((), dtype=torch.float64), torch.tensor([1.0, torch.nan, 0.0])

    with refuses("not finite"):
        minimise(broken, torch.zeros(3), tol=1e-3)


def test_the_summary_is_plain() -> None:
    summary = minimise(Quadratic(10.0), torch.zeros(12), tol=1e-3).summary()
    assert {name: type(value) for name, value in summary.items()} == {
        "objective": float,
        "gradient": float,
        "passes": int,
        "converged": bool,
    }
