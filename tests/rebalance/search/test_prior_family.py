"""The best tau of z - tau log pi on subsets of rows, for accuracies exactly and for other metrics on a grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rebalance.search.ascent import predict
from rebalance.search.confusion import count_metric
from rebalance.search.path import Sweep, correct_intervals
from rebalance.search.prior_family import TAUS, PriorFamily
from rebalance.search.selection import choose, within_error

LOG_PRIOR = np.log([0.6, 0.25, 0.1, 0.05])
COSTS = np.array([[0.0, 1, 1, 1], [1, 0, 1, 1], [2, 2, 0, 2], [3, 3, 3, 0]])


def drawn(seed: int) -> tuple[Any, Any]:
    """Logits (4, 80) that favour the frequent classes."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(4), 20))
    logits = rng.normal(size=(4, 80)) + LOG_PRIOR[:, None]
    logits[labels, np.arange(80)] += 1.5
    return logits.astype(np.float32), labels


@pytest.mark.parametrize("metric", ["balanced", "top1"])
@given(seed=st.integers(0, 2**32 - 1))
def test_accuracies_are_chosen_as_the_exact_search_chooses(metric: str, seed: int) -> None:
    logits, labels = drawn(seed)
    rows = np.flatnonzero(np.random.default_rng(seed).random(80) < 0.7)
    weights = count_metric(metric, labels[rows], 4).gains(labels[rows])
    ends = correct_intervals(
        torch.from_numpy(logits.T[rows].astype(np.float64)),
        torch.from_numpy(-LOG_PRIOR),
        torch.from_numpy(labels[rows]),
    )
    expected = choose(Sweep.of(*(end.numpy() for end in ends)), weights).value
    assert PriorFamily(logits, labels, LOG_PRIOR, metric).tau(rows) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("metric", ["macro_f1", COSTS], ids=["macro_f1", "cost"])
@pytest.mark.parametrize("seed", range(5))
def test_other_metrics_are_chosen_on_the_grid(metric: Any, seed: int) -> None:
    logits, labels = drawn(seed)
    tau = PriorFamily(logits, labels, LOG_PRIOR, metric).tau(np.arange(80))
    scored = count_metric(metric, labels, 4)
    values = np.array([scored.value(predict(logits, -t * LOG_PRIOR)) for t in TAUS])
    gains = np.stack([scored.gains(predict(logits, -t * LOG_PRIOR)) for t in TAUS])
    top = int(values.argmax())
    first, last = within_error(values, np.sqrt(((gains - gains[top]) ** 2).sum(axis=1)), top)
    assert tau == TAUS[(first + last) // 2]
    # The family helps here, or nothing would be said.
    assert scored.value(predict(logits, -tau * LOG_PRIOR)) > values[0]


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = drawn(0)
    expected = PriorFamily(logits, labels, LOG_PRIOR, "balanced").tau(np.arange(80))
    monkeypatch.setattr("rebalance.search.prior_family.COLUMNS", 4 * 7)
    assert PriorFamily(logits, labels, LOG_PRIOR, "balanced").tau(np.arange(80)) == expected
