"""The guess of the inverse Hessian against a dense solve, and where it has none to follow."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rebalance.solving.curvature import Curvature, dense_inverse, inverse_of_rows


def curvature(covariance: Tensor, share: Tensor, decay: float) -> Curvature:
    return Curvature(dense_inverse(covariance, share, decay), share, len(covariance))


@given(st.integers(0, 999), st.sampled_from([1e-3, 1e-1, 1.0]))
def test_the_curvature_is_a_dense_solve(seed: int, decay: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(6, 6, generator=generator)
    covariance = factor @ factor.T / 6
    share = torch.rand(3, generator=generator) + 0.05
    gradient = torch.randn(3 * 7, generator=generator)
    out = curvature(covariance, share, decay)(gradient)
    for k in range(3):
        dense = share[k] * covariance.double() + decay * torch.eye(6)
        expected = torch.linalg.solve(dense, gradient[6 * k : 6 * k + 6].double())
        # A floor of 1e-6 of the largest variance against the decay, and float32 under the condition of the matrix.
        error = 1e-5 + 2e-6 * float(torch.linalg.matrix_norm(covariance, 2)) / decay
        away = torch.linalg.vector_norm(out[6 * k : 6 * k + 6] - expected)
        assert float(away) <= error * float(torch.linalg.vector_norm(expected))
    torch.testing.assert_close(out[18:], gradient[18:] / share)


@given(st.integers(0, 999), st.sampled_from([0.0, 1e-4, 1.0]), st.integers(1, 9))
def test_the_curvature_is_positive_even_where_rows_are_few(seed: int, decay: float, rank: int) -> None:
    """A direction without variance, a class without rows: a preconditioned step still goes downhill, finitely."""
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(9, rank, generator=generator)
    guess = curvature(factor @ factor.T, torch.tensor([0.0, 0.3, 0.1]), decay)
    gradient = torch.randn(30, generator=generator)
    out = guess(gradient)
    assert bool(torch.isfinite(out).all())
    assert float(out @ gradient) > 0


def test_no_variance_at_all_is_no_division_by_zero() -> None:
    out = curvature(torch.zeros(4, 4), torch.full((2,), 0.25), 1e-3)(torch.zeros(10))
    assert not out.any()


@given(st.integers(0, 999), st.sampled_from([0.0, 1e-3, 0.1]), st.integers(1, 7), st.booleans())
def test_few_rows_say_the_same_as_their_covariance(seed: int, decay: float, number: int, alike: bool) -> None:
    """Also across the rows' span, where only the decay and the floor are left."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(number, 8, generator=generator)
    share = torch.full((3,), 0.2) if alike else torch.tensor([0.3, 0.2, 0.05])
    weight = torch.randn(3, 8, generator=generator)
    values = torch.linalg.svdvals(rows.double()).square()
    thin, floor = inverse_of_rows(rows, share, decay)(weight).double(), 1e-6 * values[0]
    for k in range(3):
        dense = share[k] * (rows.double().T @ rows.double()) + (decay + float(share[k] * floor)) * torch.eye(8)
        expected = torch.linalg.solve(dense, weight[k].double())
        # The floor replaces an eigenvalue here and is added to it there: a part of 1e-6 of the largest, next to the
        # smallest; and float32.
        error = 1e-5 + 2 * float(floor / values[min(number, 8) - 1].clamp_min(floor))
        away = torch.linalg.vector_norm(thin[k] - expected)
        assert float(away) <= error * float(torch.linalg.vector_norm(expected))


def test_rows_that_are_all_the_same_leave_the_decay() -> None:
    out = inverse_of_rows(torch.zeros(3, 5), torch.full((2,), 0.25), 1e-3)(torch.ones(2, 5))
    torch.testing.assert_close(out, torch.full((2, 5), 1e3))
