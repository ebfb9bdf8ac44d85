"""Priors: from counts, from given shares, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rebalance.prior import as_prior, log_prior, log_target, shifted_prior, training_counts

NO_LABELS = torch.empty(0, dtype=torch.int64)
COUNTS = arrays(np.int64, st.integers(1, 8), elements=st.integers(0, 10**9))


@given(COUNTS)
def test_the_log_prior_is_that_of_shares_with_sum_1(counts: np.ndarray[Any, Any]) -> None:
    logs = log_prior(counts)
    rows = np.where(counts > 0, counts, 0.5)
    np.testing.assert_allclose(logs.numpy(), np.log(rows / rows.sum()), atol=1e-12)  # float64's own rounding
    assert logs.dtype == torch.float64
    assert math.isclose(float(logs.exp().sum()), 1.0, rel_tol=1e-12)


def test_an_empty_class_is_half_as_frequent_as_one_with_a_row() -> None:
    logs = log_prior([4, 1, 0])
    assert math.isclose(float(logs[1] - logs[2]), math.log(2))


@given(arrays(np.float64, st.integers(1, 6), elements=st.floats(0, 1.7e308)).filter(lambda values: values.any()))
def test_a_prior_is_its_values_over_their_sum(values: np.ndarray[Any, Any]) -> None:
    prior = as_prior(values, len(values)).numpy()
    assert math.isclose(prior.sum(), 1.0, rel_tol=1e-12)
    largest = values.max()
    np.testing.assert_allclose(prior / prior.max(), values / largest, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
def test_a_prior_is_any_array(kind: Any) -> None:
    assert as_prior(kind([3, 1]), 2).tolist() == [0.75, 0.25]


def test_targets_are_relative_to_their_most_frequent_class() -> None:
    logs = log_prior([6, 3, 0])
    assert log_target("uniform", logs).tolist() == [0.0, 0.0, 0.0]
    assert log_target([0.2, 0.2, 0.2], logs).tolist() == [0.0, 0.0, 0.0]
    assert torch.equal(log_target("train", logs), logs - logs.max())
    assert log_target([1, 4, 0], logs).tolist() == [math.log(0.25), 0.0, -math.inf]


def test_counts_are_those_of_the_labels_unless_given() -> None:
    labels = torch.tensor([2, -1, 0, 2])
    assert training_counts(None, labels, 4).tolist() == [1.0, 0.0, 2.0, 0.0]
    given_counts = np.array([5, 0, 1])
    counts = training_counts(given_counts, labels, 3)
    assert counts.tolist() == [5.0, 0.0, 1.0]
    counts[0] = 7
    assert given_counts[0] == 5


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([1.0, 2.0], "have shape \\(2,\\); expected \\(3,\\)"),
        ([[1.0, 2.0, 3.0]], "have shape \\(1, 3\\)"),
        (math.nan, "have shape \\(\\)"),
        ([1.0, -1.0, 2.0], "class 1 is -1"),
        ([1.0, 2.0, math.nan], "class 2 is nan"),
        ([math.inf, 2.0, 1.0], "class 0 is inf"),
        ([0.0, 0.0, 0.0], "are all 0"),
        (["a", "b", "c"], "are no numbers"),
        ([[1.0], [1.0, 2.0], [1.0]], "are no numbers"),
    ],
)
def test_what_is_no_prior_is_refused(values: Any, says: str, refuses: Any) -> None:
    with refuses(says, "shares"):
        as_prior(values, 3)
    with refuses(says, "target_prior"):
        log_target(values, torch.zeros(3, dtype=torch.float64))
    with refuses(says, "counts", "training rows a class"):
        training_counts(values, NO_LABELS, 3)


def test_labels_without_a_class_have_no_counts(refuses: Any) -> None:
    with refuses("no row has a label", "counts"):
        training_counts(None, torch.tensor([-1, -1]), 3)


def test_a_word_that_is_no_target_is_refused(refuses: Any) -> None:
    with refuses("target_prior is 'test'", "uniform, train or 3 numbers"):
        log_target("test", torch.zeros(3, dtype=torch.float64))


def shifted_by_loop(counts: list[int], ratio: float, backward: bool) -> list[float]:
    """Each step down the order of the training counts, equal ones by their id, costs the same factor."""
    order = sorted(range(len(counts)), key=lambda k: (-counts[k], k))
    rows = {k: ratio ** (-rank / max(1, len(counts) - 1)) for rank, k in enumerate(order)}
    if backward:
        rows = dict(zip(order, reversed(rows.values()), strict=True))
    return [rows[k] / sum(rows.values()) for k in range(len(counts))]


@given(COUNTS.filter(np.any), st.floats(1, 1000), st.booleans())
def test_a_shifted_prior_is_geometric_in_the_rank(counts: Any, ratio: float, backward: bool) -> None:
    shares = shifted_prior(counts, ratio, backward=backward)
    assert shares.dtype == torch.float64
    expected = shifted_by_loop(counts.tolist(), ratio, backward)
    np.testing.assert_allclose(shares.numpy(), expected, rtol=1e-9)
    assert torch.equal(shifted_prior(torch.from_numpy(counts), ratio, backward=backward), shares)


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=9, unique=True), st.floats(1.01, 1000))
def test_forward_follows_the_training_counts_and_backward_is_the_mirror(counts: list[int], ratio: float) -> None:
    forward, backward = (shifted_prior(counts, ratio, backward=each).numpy() for each in (False, True))
    order = np.argsort(counts)
    assert (np.diff(forward[order]) > 0).all()
    np.testing.assert_allclose(backward[order], forward[order][::-1], rtol=1e-12)
    assert forward.max() / forward.min() == pytest.approx(ratio)
    assert int(forward.argmax()) == int(np.argmax(counts))


def test_a_ratio_of_1_is_the_uniform_prior() -> None:
    shares = shifted_prior([5, 1, 3], 1)
    assert (shares == shares[0]).all()


@pytest.mark.parametrize("ratio", [0.0, 0.5, -2.0, math.nan, math.inf])
def test_a_ratio_below_1_or_none_is_refused(ratio: float, refuses: Any) -> None:
    with refuses("ratio", "1"):
        shifted_prior([3, 2, 1], ratio)


@pytest.mark.parametrize("counts", [[0, 0], [3, -1], [3, float("nan")], [[3, 1]]])
def test_a_shifted_prior_of_no_counts_is_refused(counts: Any, refuses: Any) -> None:
    with refuses("counts", "training rows a class"):
        shifted_prior(counts, 50)
