"""The line search ends where the strong Wolfe conditions hold, from a first step of any length."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rebalance.solving.solver import CURVATURE, DECREASE, SEARCHES, _line_search, _Point, minimise

LINES: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "quadratic": (lambda t: (t - 3) ** 2, lambda t: 2 * (t - 3)),
    "quartic": (lambda t: (t - 2) ** 4, lambda t: 4 * (t - 2) ** 3),
    "softplus": (
        lambda t: max(t, 0) + math.log1p(math.exp(-abs(t))) - 0.9 * t,
        lambda t: (1 + math.tanh(t / 2)) / 2 - 0.9,
    ),
    "soft corner": (
        lambda t: 0.1 * math.hypot(1, 10 * (t - 5)) - 0.05 * t,
        lambda t: 10 * (t - 5) / math.hypot(1, 10 * (t - 5)) - 0.05,
    ),
    "waves": (lambda t: 0.1 * (t - 9) ** 2 + math.sin(t), lambda t: 0.2 * (t - 9) + math.cos(t) - 1e-9),
}


@pytest.mark.parametrize("name", LINES)
@settings(max_examples=40)
@given(st.floats(-6, 6))
def test_a_line_search_ends_at_a_strong_wolfe_point(name: str, exponent: float) -> None:
    value, slope = LINES[name]
    length = 10**exponent  # a first step from a millionth to a million times the right one

    def along(x: Tensor) -> tuple[Tensor, Tensor]:
        t = float(x) * length
        return torch.tensor(value(t), dtype=torch.float64), torch.tensor([slope(t) * length], dtype=torch.float64)

    start = torch.zeros(1, dtype=torch.float64)
    at_start, gradient = along(start)
    here = _Point(0.0, start, float(at_start), gradient, 0.0)
    direction = torch.ones(1, dtype=torch.float64)
    found, used = _line_search(along, here, direction, 1000)
    assert found is not None
    assert 1 <= used <= SEARCHES
    assert found.value == float(along(found.parameters)[0])
    assert float(found.parameters) == pytest.approx(found.step, rel=1e-12)
    first = float(gradient)
    assert found.value <= here.value + DECREASE * found.step * first
    assert abs(found.slope) <= CURVATURE * abs(first)


def test_a_line_that_only_rises_has_no_point() -> None:
    start = torch.zeros(1, dtype=torch.float64)
    here = _Point(0.0, start, 0.0, torch.ones(1, dtype=torch.float64), 0.0)
    found, used = _line_search(lambda x: (x.sum(), torch.ones(1)), here, torch.ones(1, dtype=torch.float64), 100)
    assert (found, used) == (None, 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_step_into_what_is_not_finite_is_taken_back(bad: float) -> None:
    def walled(x: Tensor) -> tuple[Tensor, Tensor]:
        if float(x.abs().max()) > 0.75:
            return torch.tensor(bad, dtype=torch.float64), torch.full_like(x, math.nan)
        return ((x - 0.5) ** 2).sum().double(), 2 * (x - 0.5)

    solution = minimise(walled, torch.zeros(1), tol=1e-3, precondition=lambda g: 40 * g)
    assert solution.converged
    assert float(solution.parameters) == pytest.approx(0.5, abs=1e-3)
