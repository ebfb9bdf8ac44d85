"""One offset a class: what is found, how much of it is kept, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from rebalance import GatedHead, LinearHead, NormalizedHead, evaluate
from rebalance.offsets import SHRINKAGES, offsets

COSTS = np.array([[0.0, 1, 1, 1, 1], [1, 0, 1, 1, 1], [1, 1, 0, 1, 1], [3, 3, 3, 0, 3], [5, 5, 5, 5, 0]])


def found(problem: Any, **options: Any) -> Any:
    options.setdefault("counts", problem.counts)
    rows = options.pop("rows", (problem.val_features, problem.val_labels))
    return offsets(options.pop("head", problem.head), *rows, **options)


def guess(head: LinearHead, features: Any) -> Any:
    return head(features).argmax(dim=1).numpy()


@pytest.mark.parametrize("shrinkage", [0.0, 0.5, 1.0, None])
def test_the_value_is_that_of_the_head(problem: Any, shrinkage: float | None) -> None:
    result = found(problem, shrinkage=shrinkage)
    report = evaluate(result.head(problem.val_features), problem.val_labels)
    assert result.value == pytest.approx(report.balanced)
    torch.testing.assert_close(result.head.bias, problem.head.bias + torch.from_numpy(result.offsets).float())
    assert torch.equal(result.head.weight, problem.head.weight)
    assert result.converged


def test_macro_f1_and_cost_are_those_of_the_head(problem: Any) -> None:
    labels = problem.val_labels.numpy()
    result = found(problem, metric="macro_f1", shrinkage=0.0)
    assert result.value == pytest.approx(f1_score(labels, guess(result.head, problem.val_features), average="macro"))
    assert result.value > evaluate(problem.head(problem.val_features), labels).macro_f1
    costly = found(problem, metric=COSTS, shrinkage=0.0)
    assert -costly.value == pytest.approx(COSTS[labels, guess(costly.head, problem.val_features)].mean())
    assert -costly.value < COSTS[labels, guess(problem.head, problem.val_features)].mean()


@pytest.mark.parametrize("metric", ["balanced", "top1", "macro_f1", COSTS], ids=["balanced", "top1", "f1", "cost"])
def test_free_offsets_are_no_worse_than_the_prior_family(problem: Any, metric: Any) -> None:
    values = [found(problem, metric=metric, shrinkage=shrinkage).value for shrinkage in (0.0, 1.0)]
    assert values[0] >= values[1] - 1e-12


def test_all_shrunk_is_logit_adjustment(problem: Any) -> None:
    result = found(problem, shrinkage=1.0)
    log_prior = np.log(problem.counts.numpy() / problem.counts.numpy().sum())
    np.testing.assert_allclose(result.offsets, -result.tau * log_prior, rtol=1e-12)
    assert (result.held_out, result.curve) == (None, [])


def test_shrinkage_goes_straight_to_the_prior_family(problem: Any) -> None:
    free, half, family = (found(problem, shrinkage=each).offsets for each in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(half, (free + family) / 2)
    assert np.abs(free - family).max() > 0.01


@pytest.mark.parametrize("seed", range(3))
def test_the_chosen_shrinkage_is_the_largest_within_one_error(problem: Any, seed: int) -> None:
    result = found(problem, seed=seed, rows=(problem.features, problem.labels))
    assert [point["shrinkage"] for point in result.curve] == list(SHRINKAGES)
    top = max(point["value"] for point in result.curve)
    close = [p for p in result.curve if top - p["value"] <= p["standard_error"] + 1e-12]
    assert result.shrinkage == close[-1]["shrinkage"]
    assert result.held_out == close[-1]["value"]


@pytest.mark.parametrize("seed", range(3))
def test_labels_that_are_noise_are_shrunk_to_the_prior_family(problem: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(5), 40))
    result = found(problem, rows=(rng.normal(size=(200, 8)), labels))
    assert result.shrinkage == 1
    # Although free offsets look better on the rows they were found on.
    assert found(problem, rows=(rng.normal(size=(200, 8)), labels), shrinkage=0.0).value > result.value


def test_what_helps_on_other_rows_too_is_kept() -> None:
    """A bias that has nothing to do with the prior: the second class is always too low."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(3), 100))
    features = np.eye(3)[labels] * 2 + rng.normal(size=(300, 3))
    head = LinearHead(torch.eye(3) * 2, torch.tensor([0.0, -6.0, 0.0]))
    result = offsets(head, features, labels, counts=[50, 50, 50])
    assert result.shrinkage < 1
    assert result.held_out is not None
    assert result.held_out > result.curve[-1]["value"] + 0.1
    assert result.offsets[1] - result.offsets[[0, 2]].mean() == pytest.approx(6, abs=2.5)


def test_a_class_without_rows_keeps_its_prior_offset(problem: Any) -> None:
    rows = problem.val_labels != 3
    free = found(problem, rows=(problem.val_features[rows], problem.val_labels[rows]), shrinkage=0.0)
    log_prior = np.log(problem.counts.numpy() / problem.counts.numpy().sum())
    assert free.offsets[3] == pytest.approx(-free.tau * log_prior[3])
    empty = found(problem, counts=[60, 30, 12, 5, 0], shrinkage=1.0)
    assert np.isfinite(empty.offsets).all()


def test_the_order_of_classes_does_not_matter(problem: Any) -> None:
    new_id = torch.tensor([3, 0, 4, 1, 2])
    old_id = new_id.argsort()
    head = LinearHead(problem.head.weight[old_id], problem.head.bias[old_id])
    for counts in (problem.counts, torch.tensor([9, 9, 9, 3, 3])):  # equally frequent classes too
        renamed = found(
            problem,
            head=head,
            counts=counts[old_id],
            rows=(problem.val_features, new_id[problem.val_labels]),
            shrinkage=0.0,
        )
        expected = found(problem, counts=counts, shrinkage=0.0)
        np.testing.assert_allclose(renamed.offsets[new_id.numpy()], expected.offsets, rtol=1e-6, atol=1e-6)


def test_unlabelled_rows_and_kinds_of_arrays_do_not_matter(problem: Any, slice_only: Any) -> None:
    noise = torch.full((3, 8), 7.0)
    features = torch.cat([noise, problem.val_features, noise])
    labels = torch.cat([torch.full((3,), -1), problem.val_labels, torch.full((3,), -1)])
    expected = found(problem)
    for rows in [(features, labels), (slice_only(features.numpy().astype(np.float16)), labels.numpy())]:
        result = found(problem, rows=rows)
        np.testing.assert_allclose(result.offsets, expected.offsets, rtol=1e-5, atol=1e-6)
        assert result.head.record["tuned"]["rows"] == 60


@pytest.mark.parametrize("kind", ["normalized", "gated"])
def test_heads_of_other_types(problem: Any, kind: str) -> None:
    weight, bias = problem.head.weight, problem.head.bias
    if kind == "normalized":
        head: LinearHead = NormalizedHead(weight, center=problem.features.mean(0))
    else:
        head = GatedHead(weight, bias, scale=torch.linspace(0.5, 2, 5), gate=torch.linspace(-1, 1, 8))
    result = found(problem, head=head)
    assert type(result.head) is type(head)
    before, after = head(problem.val_features), result.head(problem.val_features)
    torch.testing.assert_close(after, before + torch.from_numpy(result.offsets).float(), rtol=1e-4, atol=1e-4)
    assert result.value == pytest.approx(evaluate(after, problem.val_labels).balanced)


def test_two_classes_one_class_and_one_row_survive() -> None:
    two = LinearHead(torch.tensor([[1.0], [-1.0]]))
    assert offsets(two, [[1.0], [2.0], [3.0]] @ np.eye(1), np.array([1, 0, 0]), counts=[9, 1], folds=2).value == 1
    one = LinearHead(torch.ones(1, 2))
    assert offsets(one, np.ones((4, 2)), np.zeros(4, np.int64), counts=[4], folds=2).value == 1
    assert offsets(two, np.ones((1, 1)), np.array([1]), counts=[9, 1], shrinkage=0.0).value == 1


def test_the_record_is_plain_json(problem: Any) -> None:
    record = found(problem).head.record
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["method"], record["source"]) == ("offsets", "test")
    assert record["tuned"] | {"value": 0} == {
        "metric": "balanced",
        "rows": 60,
        "value": 0,
        "select": "1se",
        "folds": 5,
        "seed": 0,
    }
    assert found(problem, metric=COSTS, shrinkage=1.0).head.record["tuned"] == {"metric": "cost matrix", "rows": 60}


def test_arguments_that_are_none(problem: Any, refuses: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for options, parts in [
        ({"shrinkage": 1.5}, ["shrinkage is 1.5"]),
        ({"shrinkage": float("nan")}, ["shrinkage is nan"]),
        ({"passes": 0}, ["passes is 0"]),
        ({"folds": 1}, ["folds is 1"]),
        ({"metric": "nll"}, ["nll", "macro_f1"]),
        ({"counts": [1, 2]}, ["counts", r"\(2,\)", r"\(5,\)"]),
        ({"counts": None}, ["training rows", r"counts=\(K,\)"]),
        ({"head": None}, ["offsets", "none was given"]),
        ({"rows": (problem.val_features, problem.val_labels[:-1])}, ["59 labels", "60 rows"]),
        ({"rows": (problem.val_features, problem.val_labels + 1)}, ["label 5", "5 classes"]),
        ({"rows": (problem.val_features, torch.full((60,), -1))}, ["no row has a label"]),
    ]:
        with refuses(*parts):
            found(problem, **options)
    features = problem.val_features.clone()
    features[11, 2] = torch.nan
    with refuses("row 11", "NaN"):
        found(problem, rows=(features, problem.val_labels))
    monkeypatch.setattr("rebalance.offsets.MOST", 250)
    with refuses("300 logits", "250", "at most 50 rows"):
        found(problem)
