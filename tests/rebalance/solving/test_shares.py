"""What part of a loss a class holds: the formulas, their ends, and classes without rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rebalance.solving.shares import effective_shares, power_shares

COUNTS = torch.tensor([1000, 100, 7, 1, 0])


@given(st.floats(0.01, 0.999))
def test_a_row_weighs_one_over_the_effective_number(beta: float) -> None:
    n = COUNTS[:4].double().numpy()
    stated = n * (1 - beta) / (1 - beta**n)
    ours = effective_shares(COUNTS, beta)[:4].numpy()
    np.testing.assert_allclose(ours / ours.sum(), stated / stated.sum(), rtol=1e-9)


def test_the_effective_number_is_a_geometric_sum() -> None:
    # 1 + beta + ... + beta^(n-1), where 1 - beta^n would have lost nine of its digits.
    beta = 1 - 1e-9
    counts = torch.tensor([3, 50])
    ours = counts / effective_shares(counts, beta)
    sums = [sum(beta**i for i in range(n)) for n in (3, 50)]
    assert float(ours[1] / ours[0]) == pytest.approx(sums[1] / sums[0], rel=1e-12)


def test_the_ends_weigh_rows_or_classes_alike() -> None:
    assert effective_shares(COUNTS, 0.0).tolist() == [1000, 100, 7, 1, 0]
    assert effective_shares(COUNTS, 1.0).tolist() == [1, 1, 1, 1, 0]
    shares = power_shares(COUNTS, 0.0)
    torch.testing.assert_close(shares / shares[0], COUNTS / 1000.0, check_dtype=False)
    assert power_shares(COUNTS, 1.0).tolist() == [1, 1, 1, 1, 0]


def test_rows_of_the_fit_may_be_others_than_the_counts() -> None:
    shares = effective_shares(torch.tensor([100, 10]), 1.0, torch.tensor([5, 5]))
    assert shares.tolist() == pytest.approx([0.05, 0.5])


@given(st.floats(0, 5))
def test_a_row_weighs_a_power_of_the_count(rho: float) -> None:
    n = COUNTS[:4].double().numpy()
    ours = power_shares(COUNTS, rho)[:4].numpy()
    np.testing.assert_allclose(ours / ours.sum(), n ** (1 - rho) / (n ** (1 - rho)).sum(), rtol=1e-9)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_wrong_values_are_refused(value: float, refuses: Any) -> None:
    with refuses("beta", "from 0 to 1"):
        effective_shares(COUNTS, value)
    with refuses("rho", "from 0 on"):
        power_shares(COUNTS, value)
