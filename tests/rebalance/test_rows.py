"""What is counted and summed where the data enter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rebalance.rows import need_rows


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=40).filter(lambda each: max(each) >= 0), st.integers(0, 99))
def test_counts_sums_and_mean_are_those_of_numpy(labels: list[int], seed: int) -> None:
    truth = np.array(labels)
    features = np.random.default_rng(seed).normal(size=(len(truth), 3)).astype(np.float32)
    rows = need_rows(None, features, truth)
    classes = truth.max() + 1
    assert rows.counts.tolist() == [int((truth == k).sum()) for k in range(classes)]
    exact = features.astype(np.float64)
    sums = np.stack([exact[truth == k].sum(axis=0) for k in range(classes)])
    # At most 40 float32 numbers of about 1 are added up before they become float64.
    np.testing.assert_allclose(rows.sums.numpy(), sums, atol=2e-5)
    np.testing.assert_allclose(rows.mean.numpy(), exact[truth >= 0].mean(axis=0), atol=2e-6)
    assert rows.labels.tolist() == rows.whole.tolist() == labels
    assert rows.device == torch.device("cpu")
    assert rows.sums.dtype == rows.mean.dtype == torch.float64


def test_the_head_gives_the_number_of_classes(problem: Any) -> None:
    labels = torch.where(problem.labels == 4, -1, problem.labels)
    assert need_rows(problem.head, problem.features, labels).counts.tolist() == [60, 30, 12, 5, 0]
    assert need_rows(None, problem.features, labels).counts.tolist() == [60, 30, 12, 5]


def test_parts_are_added_up_in_double_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A float32 sum of these would lose every one."""
    monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 4 * 4)
    monkeypatch.setattr("rebalance.rows.ROWS_A_SUM", 4)
    features = torch.cat([torch.full((1, 1), 2.0**24), torch.zeros(3, 1), torch.ones(100, 1)])
    rows = need_rows(None, features, torch.zeros(104, dtype=torch.int64))
    assert rows.sums.item() == 2**24 + 100


@pytest.mark.parametrize("shift", [0.0, 10.0])
def test_many_rows_keep_six_digits(shift: float) -> None:
    """As many as are added up in float32, of two classes: an error of a few 1e-6 of the sum of their sizes."""
    features = shift + torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20_000) % 2
    rows = need_rows(None, features, labels)
    for k in range(2):
        own = features[labels == k].double()
        assert bool(((rows.sums[k] - own.sum(0)).abs() <= 5e-6 * own.abs().sum(0)).all())


def test_features_whose_sums_leave_float32_are_refused(refuses: Any) -> None:
    with refuses("too large"):
        need_rows(None, torch.full((10, 2), 3e38), torch.zeros(10, dtype=torch.int64))


def test_blocks_do_not_matter(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = need_rows(None, problem.features, problem.labels)
    monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 4 * 8 * 7)
    parts = need_rows(None, problem.features, problem.labels)
    # Float32 sums of 60 numbers in another order.
    torch.testing.assert_close(parts.sums, whole.sums, rtol=1e-6, atol=1e-5)


def test_the_features_are_not_copied(problem: Any, float16_map: Any) -> None:
    for features in (problem.features, float16_map):
        assert need_rows(None, features, problem.labels).features is features


def test_alone_all_rows_are_mine(problem: Any) -> None:
    picked = torch.tensor([5, 0, 109, 5])
    assert torch.equal(need_rows(None, problem.features, problem.labels).mine(picked), picked)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_first_bad_labelled_row_is_named(problem: Any, value: float, refuses: Any) -> None:
    features = problem.features.clone()
    features[17, 3] = value
    with refuses("row 17 of 110", "NaN or infinity"):
        need_rows(None, features, problem.labels)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_bad_row_without_a_label_is_refused_too(problem: Any, value: float, refuses: Any) -> None:
    """It would spoil whatever is multiplied with all rows at once; weight 0 times NaN is NaN."""
    features, labels = problem.features.clone(), problem.labels.clone()
    features[17, 3], labels[17] = value, -1
    with refuses("row 17 of 110", "NaN or infinity"):
        need_rows(None, features, labels)


def test_features_of_one_dimension_are_refused(refuses: Any) -> None:
    with refuses(r"\(3,\)", r"\(N, D\)"):
        need_rows(None, torch.zeros(3), torch.zeros(3, dtype=torch.int64))


def test_rows_that_do_not_fit_are_refused(problem: Any, refuses: Any) -> None:
    with refuses("109 labels", "110 rows"):
        need_rows(None, problem.features, problem.labels[:-1])
    with refuses("16 wide", "takes 8"):
        need_rows(problem.head, problem.features.repeat(1, 2), problem.labels)
    with refuses("label 5", "5 classes"):
        need_rows(problem.head, problem.features, problem.labels + 1)


@pytest.mark.parametrize("labels", [[], [-1, -1]])
def test_rows_without_any_label_are_refused(labels: list[int], refuses: Any) -> None:
    with refuses("no row has a label"):
        need_rows(None, torch.zeros(len(labels), 2), torch.tensor(labels, dtype=torch.int64))
