"""Tuning inside the training rows: folds take turns to judge, and the head says what it was tuned on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rebalance import METHODS, LinearHead, tune
from rebalance.methods import Method, crt, lws, ncm
from rebalance.metrics import balanced_row_weights
from rebalance.search.folds import stratified_folds

GRID = {"weight_decay": [1e-3, 1e-1, 10.0]}


def folded(problem: Any, method: Any = ncm, **options: Any) -> Any:
    options = {"folds": 4, "seen": False, **options}
    return tune(method, problem.head, problem.features, problem.labels, **options)


@pytest.mark.parametrize("unlabelled", [False, True])
def test_the_values_are_those_of_heads_fitted_without_the_fold(problem: Any, unlabelled: bool) -> None:
    features, labels = problem.features, problem.labels.clone()
    if unlabelled:
        labels[::6] = -1
    best = tune(ncm, problem.head, features, labels, folds=4, seen=False, seed=2, select="best")
    fold = stratified_folds(labels.numpy(), 4, seed=2)
    weights = np.zeros(len(labels))
    weights[labels >= 0] = balanced_row_weights(labels[labels >= 0].numpy())
    for point in best.curve:
        right = np.zeros(len(labels), bool)
        for part in range(4):
            rest, inside = (fold != part) & (fold >= 0), fold == part
            head = ncm(problem.head, features[rest], labels[rest], transform=point["transform"])
            right[inside] = head(features[inside]).argmax(1).numpy() == labels.numpy()[inside]
        assert point["value"] == pytest.approx(weights @ right)
    assert len({point["value"] for point in best.curve}) > 1


def test_the_head_is_fitted_on_all_rows(problem: Any) -> None:
    best = folded(problem, crt, grid=GRID)
    again = crt(problem.head, problem.features, problem.labels, weight_decay=best.weight_decay)
    assert torch.equal(best.head.weight, again.weight)
    assert best.before is None


def test_the_record_says_what_judged(problem: Any) -> None:
    record = folded(problem, seed=3).head.record
    assert (record["tuned"]["folds"], record["tuned"]["seed"], record["tuned"]["rows"]) == (4, 3, 110)
    assert record["tuned_on_seen"] is False
    for seen in (True, None):
        assert folded(problem, seen=seen, allow_seen=True).head.record["tuned_on_seen"] is True


def test_judging_rows_that_were_seen_mark_the_head_too(problem: Any) -> None:
    rows = problem.val_features, problem.val_labels
    marked = tune("tau_norm", problem.head, *rows, seen=True, allow_seen=True)
    assert marked.head.record["tuned_on_seen"] is True
    assert tune("tau_norm", problem.head, *rows, seen=False).head.record["tuned_on_seen"] is False
    assert "tuned_on_seen" not in tune("tau_norm", problem.head, *rows).head.record


@pytest.mark.parametrize(("method", "grid"), [(ncm, None), (crt, GRID), (lws, GRID)])
@pytest.mark.parametrize("with_head", [True, False])
def test_classes_with_fewer_rows_than_folds_are_said(
    problem: Any, method: Any, grid: Any, with_head: bool, refuses: Any
) -> None:
    """Class 3 has two rows; of class 4 there is one, so a fold is judged by a head that never saw it."""
    first = [np.flatnonzero((problem.labels == k).numpy())[:most] for k, most in enumerate((60, 30, 12, 2, 1))]
    rows = np.concatenate(first)
    if method is lws and not with_head:
        with refuses("lws", "none was given"):
            tune(lws, None, problem.features[rows], problem.labels[rows], folds=5, seen=False)
        return
    given = problem.head if with_head else None
    best = tune(method, given, problem.features[rows], problem.labels[rows], folds=5, seen=False, grid=grid)
    assert best.notes == ("1 of 5 classes have a single row, judged by a head that never saw the class",)
    assert best.head.record["tuned"]["notes"] == list(best.notes)
    assert best.head.num_classes == 5
    # What starts afresh cannot know that class: its recall is 0. lws starts from a head that does.
    assert all(point["value"] <= 0.8 + 1e-12 for point in best.curve) or method is lws


def test_without_such_classes_there_are_no_notes(problem: Any) -> None:
    best = folded(problem)
    assert best.notes == ()
    assert "notes" not in best.head.record["tuned"]


def test_the_seed_deals_the_rows(problem: Any) -> None:
    first, again, other = (folded(problem, seed=seed).curve for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_rows_larger_than_memory(problem: Any, float16_map: Any, slice_only: Any) -> None:
    labels = problem.labels.numpy()
    best = tune(ncm, problem.head, slice_only(float16_map), labels, folds=4, seen=False)
    assert [p["value"] for p in best.curve] == pytest.approx([p["value"] for p in folded(problem).curve])


def test_counts_are_handed_on(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[Any] = []

    def shift(head: Any, features: Any, labels: Any, *, tau: float = 1.0, counts: Any = None) -> LinearHead:
        met.append(counts)
        return LinearHead(head.weight, head.bias * tau)

    rows, counts = (problem.val_features, problem.val_labels), problem.counts
    grid = {"tau": [0.0, 1.0]}
    monkeypatch.setitem(METHODS, "shift", Method(shift, on=None))
    tune(shift, problem.head, *rows, counts=counts, grid=grid)
    assert len(met) == 2
    assert all(each is counts for each in met)
    monkeypatch.setitem(METHODS, "shift", Method(shift, on="train"))
    tune(shift, problem.head, problem.features, problem.labels, val=rows, grid=grid)
    assert met[2:] == [None, None]  # its own labels are counted
    tune(ncm, problem.head, problem.features, problem.labels, val=rows, counts=counts)  # no use for them
