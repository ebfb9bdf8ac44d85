"""What is counted and summed where the data enter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rebalance import LinearHead, NormalizedHead
from rebalance.methods.needs import need_head, need_linear, need_rows


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=40).filter(lambda each: max(each) >= 0), st.integers(0, 99))
def test_counts_sums_and_mean_are_those_of_numpy(labels: list[int], seed: int) -> None:
    truth = np.array(labels)
    features = np.random.default_rng(seed).normal(size=(len(truth), 3)).astype(np.float32)
    rows = need_rows(None, features, truth)
    classes = truth.max() + 1
    assert rows.counts.tolist() == [int((truth == k).sum()) for k in range(classes)]
    sums = np.stack([features[truth == k].astype(np.float64).sum(axis=0) for k in range(classes)])
    # Sums of at most 40 float64 numbers in another order.
    np.testing.assert_allclose(rows.sums.numpy(), sums, atol=1e-12)
    np.testing.assert_allclose(rows.mean.numpy(), features[truth >= 0].astype(np.float64).mean(axis=0), atol=1e-12)
    assert rows.labels.tolist() == labels
    assert rows.device == torch.device("cpu")


def test_the_head_gives_the_number_of_classes(problem: Any) -> None:
    labels = torch.where(problem.labels == 4, -1, problem.labels)
    assert need_rows(problem.head, problem.features, labels).counts.tolist() == [60, 30, 12, 5, 0]
    assert need_rows(None, problem.features, labels).counts.tolist() == [60, 30, 12, 5]


def test_sums_are_in_double_precision() -> None:
    """A float32 sum of these would lose every one."""
    features = torch.cat([torch.full((1, 1), 2.0**24), torch.ones(100, 1)])
    rows = need_rows(None, features, torch.zeros(101, dtype=torch.int64))
    assert rows.sums.item() == 2**24 + 100


def test_huge_finite_features_are_not_refused() -> None:
    rows = need_rows(None, torch.full((10, 2), 3e38), torch.zeros(10, dtype=torch.int64))
    assert bool(torch.isfinite(rows.mean).all())


def test_features_of_one_dimension_are_refused(refuses: Any) -> None:
    with refuses(r"\(3,\)", r"\(N, D\)"):
        need_rows(None, torch.zeros(3), torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("need", [need_head, need_linear])
def test_a_head_is_asked_for_by_name(need: Any, refuses: Any) -> None:
    head = LinearHead(torch.eye(2))
    assert need(head, "lws") is head
    with refuses("lws", "none was given"):
        need(None, "lws")


def test_only_a_plainly_linear_head_is_linear(refuses: Any) -> None:
    head = NormalizedHead(torch.eye(2))
    assert need_head(head, "joint") is head
    with refuses("tau_norm", "NormalizedHead"):
        need_linear(head, "tau_norm")
