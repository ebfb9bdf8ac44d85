"""What a head makes of every row, against loops; ties, sure rows, half precision and rows that are not finite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rebalance import evaluate
from rebalance.metrics import correct_rows, refuse_bad_logits

CASES = st.tuples(st.integers(1, 40), st.integers(2, 9), st.integers(0, 2**32 - 1))


@given(CASES, st.booleans())
def test_rows_are_those_of_a_loop(case: Any, loops: Any, shape: tuple[int, int, int], weighted: bool) -> None:
    made = case(shape)
    made.labels[1::5] = -1
    prior = made.prior if weighted else None
    report = evaluate(made.logits, made.labels, target_prior=prior, costs=made.costs)
    each, loop = report.results, loops(made.logits, made.labels, prior)
    assert each.rows.tolist() == [row for row, label in enumerate(made.labels) if label >= 0]
    assert each.labels.tolist() == loop.labels
    assert each.predictions.tolist() == loop.guess
    assert each.correct.tolist() == loop.correct
    assert each.in_top5.tolist() == loop.in_top5()
    assert each.minimum_risk.tolist() == loop.decisions(made.costs)
    np.testing.assert_allclose(each.confidence, [max(row) for row in loop.probabilities], rtol=1e-12)
    np.testing.assert_allclose(each.nll, loop.nll(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(each.brier, loop.brier(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(each.weights, loop.weights, rtol=1e-12)
    assert each.weights.sum() == pytest.approx(1)
    assert {each.labels.dtype, each.predictions.dtype, each.rows.dtype} == {np.dtype(np.int64)}


@given(st.integers(1, 30), st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_ties_go_to_the_lower_class(loops: Any, rows: int, classes: int, seed: int) -> None:
    """Whole numbers from 0 to 2 among up to 12 classes: hardly a row without a tie."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.integers(0, 3, (rows, classes)).astype(np.float32))
    labels = rng.integers(0, classes, rows)
    each, loop = evaluate(logits, labels).results, loops(logits, labels)
    assert each.predictions.tolist() == loop.guess
    assert each.in_top5.tolist() == loop.in_top5()
    assert (each.in_top5 >= each.correct).all()
    assert correct_rows(logits, torch.from_numpy(labels)).tolist() == loop.correct


def test_all_classes_alike() -> None:
    report = evaluate(torch.zeros(3, 3), [0, 1, 2])
    assert report.recall.tolist() == [1, 0, 0]
    assert report.results.confidence == pytest.approx([1 / 3] * 3)
    seven = evaluate(torch.zeros(7, 7), range_of(7))
    assert seven.top5 == pytest.approx(5 / 7)
    assert seven.results.in_top5.tolist() == [True] * 5 + [False] * 2


def range_of(size: int) -> Any:
    return np.arange(size)


@pytest.mark.parametrize("classes", [2, 15, 16, 200])
def test_confidence_stays_a_share(classes: int) -> None:
    """A probability that rounding lifts above 1 would fall out of the last bin."""
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(500, classes, generator=generator) * torch.logspace(-18, 2, 500)[:, None]
    each = evaluate(logits, np.zeros(500, dtype=np.int64)).results
    assert (each.confidence >= 1 / classes - 1e-12).all()
    assert (each.confidence <= 1).all()
    assert (each.brier >= 0).all()
    assert (each.brier <= 2 + 1e-12).all()
    assert (each.nll >= 0).all()


def test_a_sure_row_is_exactly_sure() -> None:
    each = evaluate(torch.tensor([[1e4, 0.0], [1e4, 0.0]]), [0, 1]).results
    assert each.confidence.tolist() == [1, 1]
    assert each.nll.tolist() == [0, 1e4]
    assert each.brier.tolist() == [0, 2]


def test_half_precision_is_judged_in_double() -> None:
    """A difference that float16 would lose in the sum of exponentials."""
    logits = torch.tensor([[0.0, -12.0]], dtype=torch.float16)
    assert evaluate(logits, [1]).nll == pytest.approx(12 + math.log1p(math.exp(-12)), rel=1e-12)
    largest = torch.tensor([[65504.0, -65504.0]], dtype=torch.float16)
    assert evaluate(largest, [1]).nll == 2 * 65504


def test_correct_rows_refuse_nan_and_know_no_unlabelled_row(refuses: Any) -> None:
    assert correct_rows(torch.eye(2), torch.tensor([0, -1])).tolist() == [True, False]
    with refuses("row 1 of 2", "NaN"):
        correct_rows(torch.tensor([[0.0, 1.0], [0.0, torch.nan]]), torch.tensor([0, 1]))


def test_the_first_row_that_is_not_finite_is_named(monkeypatch: pytest.MonkeyPatch, refuses: Any) -> None:
    monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 4 * 3 * 4)
    logits = torch.zeros(30, 3)
    refuse_bad_logits(logits)
    logits[17, 2] = logits[25, 0] = -torch.inf
    with refuses("logits row 17 of 30", "infinity"):
        refuse_bad_logits(logits)
    with refuses(r"\(3,\)"):
        refuse_bad_logits(torch.zeros(3))
