"""The likeliest classes and their probabilities: their order, their ties, and Bayes' rule under another prior."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rebalance.prediction import prior_offsets, ranked

SHARES = st.integers(1, 50)


def rows_of(draw: Any, classes: int, values: Any) -> Tensor:
    """One to five rows of logits."""
    return torch.tensor(draw(st.lists(st.lists(values, min_size=classes, max_size=classes), min_size=1, max_size=5)))


@given(st.data())
def test_the_order_is_that_of_the_logits_and_ties_go_to_the_lower_id(data: st.DataObject) -> None:
    classes = data.draw(st.integers(1, 9))
    k = data.draw(st.integers(1, classes))
    logits = rows_of(data.draw, classes, st.integers(-2, 2)).float()  # many ties
    found = ranked(logits, k)
    for row, ids in zip(logits.tolist(), found.classes.tolist(), strict=True):
        assert ids == sorted(range(classes), key=lambda each: (-row[each], each))[:k]
    expected = logits.double().softmax(dim=1).gather(1, found.classes)
    torch.testing.assert_close(found.probabilities, expected, rtol=1e-12, atol=0)  # float64 sums of up to 9


@given(st.data())
def test_probabilities_are_those_of_the_formula(data: st.DataObject) -> None:
    classes = data.draw(st.integers(2, 6))
    logits = rows_of(data.draw, classes, st.floats(-5, 5, width=32))
    source, target = (
        np.array(data.draw(st.lists(SHARES, min_size=classes, max_size=classes)), float) for _ in range(2)
    )
    p = logits.double().softmax(dim=1).numpy() * (target / target.sum()) / (source / source.sum())
    p /= p.sum(axis=1, keepdims=True)
    found = ranked(logits, classes, offsets=prior_offsets(source, target))
    np.testing.assert_allclose(found.probabilities.numpy(), np.take_along_axis(p, found.classes.numpy(), 1), rtol=1e-9)
    np.testing.assert_allclose(found.probabilities[:, 0].numpy(), p.max(axis=1), rtol=1e-9)


def test_the_posterior_of_one_prior_becomes_exactly_that_of_another() -> None:
    """Two classes, three cells with known probabilities given the class: Bayes' rule under both priors."""
    given_class = torch.tensor([[0.7, 0.2], [0.2, 0.3], [0.1, 0.5]], dtype=torch.float64)
    before, after = torch.tensor([0.9, 0.1]), torch.tensor([0.25, 0.75])
    logits = (given_class * before).log()
    found = ranked(logits, 2, offsets=prior_offsets(before, after))
    expected = given_class * after
    expected /= expected.sum(dim=1, keepdim=True)
    assert found.classes[:, 0].tolist() == expected.argmax(dim=1).tolist() == [0, 1, 1]
    torch.testing.assert_close(found.probabilities, expected.gather(1, found.classes), rtol=1e-7, atol=0)


def test_equal_priors_change_no_bit() -> None:
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    shares = np.array([5, 1, 0.1, 3, 1e-9, 7, 2])
    plain, same = ranked(logits, 3), ranked(logits, 3, offsets=prior_offsets(shares, shares))
    assert torch.equal(plain.classes, same.classes)
    assert torch.equal(plain.probabilities, same.probabilities)


def test_a_class_that_never_comes_has_probability_0_and_is_last() -> None:
    logits = torch.tensor([[0.0, 50.0, 1.0, 50.0]])
    # The second never came before either.
    offsets = prior_offsets([0.5, 0.0, 0.25, 0.25], [0.5, 0.0, 0.5, 0.0])
    assert offsets[[1, 3]].tolist() == [-math.inf] * 2
    found = ranked(logits, 4, offsets=offsets)
    assert found.classes.tolist() == [[2, 0, 1, 3]]
    assert found.probabilities[0, 2:].tolist() == [0.0, 0.0]
    assert float(found.probabilities.sum()) == pytest.approx(1, rel=1e-12)
    only = ranked(logits, 2, offsets=prior_offsets([1, 1, 1, 1], [1, 0, 0, 0]))
    assert (only.classes.tolist(), only.probabilities.tolist()) == ([[0, 1]], [[1.0, 0.0]])


def test_a_class_of_which_nothing_is_known_is_refused() -> None:
    with pytest.raises(ValueError, match=r"class 1 has share 0 in the source prior and 0\.5 in the target"):
        prior_offsets([1.0, 0.0], [0.5, 0.5])


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ([1.0, 2.0], [1.0, 2.0, 3.0], r"target prior have shape \(3,\)"),
        ([1.0, -2.0], [1.0, 2.0], "source prior: that of class 1 is -2"),
        ([1.0, 2.0], [math.nan, 2.0], "target prior: that of class 0 is nan"),
        ([0.0, 0.0], [1.0, 2.0], "source prior are all 0"),
    ],
)
def test_what_are_no_shares(source: list[float], target: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        prior_offsets(source, target)


def test_far_logits_and_tiny_shares_stay_finite() -> None:
    logits = torch.tensor([[3e4, -3e4, 0.0], [-1e30, 5.0, 5.0]])
    found = ranked(logits, 3, offsets=prior_offsets([1, 1e-300, 1], [1e-300, 1, 1]))
    assert bool(torch.isfinite(found.probabilities).all())
    torch.testing.assert_close(found.probabilities.sum(dim=1), torch.ones(2, dtype=torch.float64))


def test_logits_decide_where_probabilities_round_to_one_another() -> None:
    logits = torch.tensor([[0.0, 1e-6, -100.0], [80.0, 1.0, 80.0001]])
    assert ranked(logits).classes[:, 0].tolist() == [1, 2]


@pytest.mark.parametrize("k", [0, 4])
def test_k_is_one_to_as_many_as_there_are(k: int) -> None:
    with pytest.raises(ValueError, match=f"the {k} most likely of 3 classes; expected 1 to 3"):
        ranked(torch.zeros(2, 3), k)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="logits row 1 of 2 holds NaN or infinity"):
        ranked(torch.tensor([[0.0, 1.0], [bad, 1.0]]))
