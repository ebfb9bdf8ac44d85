"""Judging: scikit-learn's figures, rows of any kind, heads as their logits, and what is refused."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as oracle

from rebalance import LinearHead, Shots, evaluate
from rebalance.metrics import evaluate_head

CASES = st.tuples(st.integers(1, 60), st.integers(2, 8), st.integers(0, 2**32 - 1))
SEVERAL = settings(max_examples=50)


def of_scikit_learn(logits: Any, labels: Any, weights: Any) -> dict[str, float]:
    """Its figures, for as many as it has; it warns of classes without rows or predictions, the point of these cases."""
    classes = range(logits.shape[1])
    guess = logits.argmax(1).numpy()
    p = torch.softmax(logits.double(), 1).numpy()
    given_ = {"sample_weight": weights}
    macro = {**given_, "average": "macro", "zero_division": 0, "labels": np.unique(labels)}  # those with rows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {
            "top1": oracle.accuracy_score(labels, guess, **given_),
            "balanced": oracle.balanced_accuracy_score(labels, guess, **given_),
            "macro_f1": oracle.f1_score(labels, guess, **macro),
            "weighted_f1": oracle.f1_score(labels, guess, average="weighted", zero_division=0, **given_),
            "macro_precision": oracle.precision_score(labels, guess, **macro),
            "nll": oracle.log_loss(labels, p, labels=classes, **given_),
            # From 0 to 2 for two classes as well.
            "brier": oracle.brier_score_loss(labels, p, labels=classes, scale_by_half=False, **given_),
        }
        if len(classes) > 5:
            found["top5"] = oracle.top_k_accuracy_score(labels, logits.numpy(), k=5, labels=classes, **given_)
    return found


@pytest.mark.parametrize("weighted", [False, True])
@SEVERAL
@given(CASES)
def test_figures_are_those_of_scikit_learn(case: Any, weighted: bool, shape: tuple[int, int, int]) -> None:
    made = case(shape)
    rows = np.bincount(made.labels, minlength=made.classes)
    weights = made.prior[made.labels] / rows[made.labels] if weighted else None
    logits = made.logits * (15 / max(15, float(made.logits.abs().max())))  # log_loss clips probabilities at 1e-16
    report = evaluate(logits, made.labels, target_prior=made.prior if weighted else None)
    for name, value in of_scikit_learn(logits, made.labels, weights).items():
        assert getattr(report, name) == pytest.approx(value, rel=1e-9, abs=1e-12), name
    assert report.rows == len(made.labels)


@pytest.mark.parametrize("weighted", [False, True])
@SEVERAL
@given(CASES)
def test_classes_are_those_of_scikit_learn(case: Any, weighted: bool, shape: tuple[int, int, int]) -> None:
    made = case(shape)
    rows = np.bincount(made.labels, minlength=made.classes)
    weights = made.prior[made.labels] / rows[made.labels] if weighted else None
    report = evaluate(made.logits, made.labels, target_prior=made.prior if weighted else None)
    guess = made.logits.argmax(1).numpy()
    precision, recall, f1, _ = oracle.precision_recall_fscore_support(
        made.labels, guess, labels=range(made.classes), sample_weight=weights, zero_division=np.nan
    )
    there = rows > 0
    for name, expected in {"precision": precision, "recall": recall, "f1": f1}.items():
        np.testing.assert_allclose(getattr(report, name)[there], expected[there], rtol=1e-9, err_msg=name)
        assert np.isnan(getattr(report, name)[~there]).all()
    assert report.class_rows.tolist() == rows.tolist()
    assert report.class_predictions.tolist() == np.bincount(guess, minlength=made.classes).tolist()
    right = np.bincount(made.labels[guess == made.labels], minlength=made.classes)
    for k in np.flatnonzero(there):
        wilson = binomtest(int(right[k]), int(rows[k])).proportion_ci(0.95, method="wilson")
        assert report.recall_interval[k] == pytest.approx((wilson.low, wilson.high), abs=1e-12)
    assert np.isnan(report.recall_interval[~there]).all()


def test_sure_and_wrong_costs_its_whole_margin() -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    assert evaluate(logits, [0, 1]).ece == 0
    wrong = evaluate(logits, [1, 0])
    assert (wrong.ece, wrong.ece_equal_mass, wrong.ece_classwise, wrong.brier) == (1, 1, 1, 2)
    assert wrong.nll == pytest.approx(2e4)


def test_one_row_of_two_classes_is_judged() -> None:
    report = evaluate(torch.tensor([[0.0, 1.0]]), [1], [5, 500], replicates=10)
    assert (report.top1, report.worst, report.many, report.few, report.top5) == (1, 1, 1, None, None)
    assert report.ece == pytest.approx(1 / (1 + np.e))
    assert report.intervals["top1"] == (1, 1)


def test_shots_move_the_groups() -> None:
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    report = evaluate(logits, [0, 1], [30, 4], shots=Shots(5, 20))
    assert (report.many, report.medium, report.few) == (1.0, None, 0.0)
    assert report.rule == Shots(5, 20).rule
    closed = evaluate(logits, [0, 1], [30, 4], shots=Shots(4, 20, closed=True))
    assert (closed.medium, closed.few) == (None, 0.0)
    assert closed.rule == Shots(4, 20, closed=True).rule


@pytest.mark.parametrize(
    "kind", ["float16", "float16 memmap", "memmap", "float64", "slices", "tensor counts", "float16 tensor"]
)
def test_logits_and_counts_of_any_kind(case: Any, kind: str, slice_only: Any, tmp_path: Any) -> None:
    made = case((40, 5, 0))
    logits = made.logits.half().float()  # exact in float16
    counts: Any = np.array([500, 50, 30, 5, 1])
    expected = evaluate(logits, made.labels, counts, replicates=5).to_dict()
    rows: Any = logits.numpy()
    if kind == "float16":
        rows = rows.astype(np.float16)
    elif kind == "float64":
        rows = rows.astype(np.float64)
    elif "memmap" in kind:
        number = np.float16 if "16" in kind else np.float32
        rows.astype(number).tofile(tmp_path / "logits.bin")
        rows = np.memmap(tmp_path / "logits.bin", number, "r", shape=(40, 5))
    elif kind == "slices":
        rows = slice_only(rows)
    elif kind == "float16 tensor":
        rows = logits.half()
    else:
        counts = torch.from_numpy(counts)
    assert evaluate(rows, made.labels, counts, replicates=5).to_dict() == expected


def test_logits_that_carry_a_gradient_are_judged_like_others(case: Any) -> None:
    made = case((40, 5, 2))
    with_gradient = made.logits.clone().requires_grad_()
    assert evaluate(with_gradient, made.labels).to_dict() == evaluate(made.logits, made.labels).to_dict()


def everything(problem: Any) -> dict[str, Any]:
    costs = np.random.default_rng(0).uniform(size=(5, 5))
    return {"counts": problem.counts, "target_prior": [1, 2, 3, 4, 5], "costs": costs, "replicates": 20, "seed": 3}


@pytest.mark.parametrize("kind", ["tensor", "map", "slices"])
def test_a_head_is_judged_as_its_logits(problem: Any, float16_map: Any, slice_only: Any, kind: str) -> None:
    features = {"tensor": problem.features, "map": float16_map, "slices": slice_only(float16_map)}[kind]
    by_head = evaluate_head(problem.head, features, problem.labels, **everything(problem))
    by_logits = evaluate(problem.head(problem.features), problem.labels, **everything(problem))
    assert by_head.to_dict() == by_logits.to_dict()
    for name, drawn in by_logits.replicates.items():
        np.testing.assert_array_equal(by_head.replicates[name], drawn, err_msg=name)
    for name in ("rows", "predictions", "confidence", "nll", "brier", "minimum_risk", "weights"):
        np.testing.assert_array_equal(getattr(by_head.results, name), getattr(by_logits.results, name), err_msg=name)


def test_a_head_of_other_features_is_refused(problem: Any, refuses: Any) -> None:
    with refuses("3 wide", "takes 8"):
        evaluate_head(problem.head, torch.ones(2, 3), [0, 1])
    features = problem.features.clone()
    features[7, 2] = torch.nan
    with refuses("row 7 of 110", "NaN"):
        evaluate_head(problem.head, features, problem.labels)
    with refuses("logits row 0 of 1", "infinity"):
        evaluate_head(LinearHead(torch.full((2, 1), 3e38), torch.zeros(2)), torch.full((1, 1), 10.0), [0])


@pytest.mark.parametrize("rows", [1, 7])
def test_blocks_do_not_change_the_report(case: Any, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    made = case((40, 5, 1))
    made.labels[::7] = -1
    given_ = {"counts": made.counts, "target_prior": made.prior, "costs": made.costs}
    expected = evaluate(made.logits, made.labels, **given_).figures()
    monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 4 * 5 * rows)
    assert evaluate(made.logits, made.labels, **given_).figures() == pytest.approx(expected, abs=1e-12)


def test_weights_have_sum_1_however_little_of_the_prior_is_on_classes_with_rows() -> None:
    report = evaluate(torch.eye(3)[[0, 1, 1]], [0, 0, 1], target_prior=[1e-11, 3e-11, 1.0])
    assert report.results.weights == pytest.approx([0.125, 0.125, 0.75], rel=1e-12)
    assert report.top1 == pytest.approx(0.875)


def test_what_makes_a_figure_less_certain_is_noted() -> None:
    report = evaluate(torch.eye(4)[[0, 0, 1]], [0, 0, 1], target_prior=[1, 1, 1, 1], replicates=5)
    single, few, missing = report.notes
    assert "1 of 2 classes have a single row" in single
    assert "1 of 2 classes have fewer than 5 rows" in few
    assert "50 %" in missing
    enough = [0, 1] * 5
    assert evaluate(torch.eye(2)[enough], enough, target_prior=[1, 1], replicates=5).notes == ()
    (left,) = evaluate(torch.eye(2)[enough], enough, target_prior=[1, 0], replicates=5).notes
    assert "1 of 2 classes have no share" in left


@pytest.mark.parametrize(
    ("logits", "labels", "given_", "parts"),
    [
        (torch.eye(3), [0, 1], {}, ["2 labels", "3 rows"]),
        (torch.eye(3), [0, 1, 2], {"counts": [5, 5]}, ["counts have shape", r"\(2,\)", "3 classes"]),
        (torch.eye(3), [0, 1, 2], {"counts": np.ones((3, 1))}, ["counts"]),
        (torch.eye(3), [0, 1, 3], {}, ["label 3", r"0\.\.2"]),
        (torch.eye(3), [0, 1, -2], {}, ["label -2"]),
        (torch.eye(3), [-1, -1, -1], {}, ["no row has a label"]),
        (torch.eye(2), [0.0, 1.0], {}, ["labels are float64", "integers"]),
        (torch.zeros(0, 3), np.zeros(0, np.int64), {}, ["no row has a label"]),
        (torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]), [0, 1], {}, ["row 1 of 2", "NaN"]),
        (torch.tensor([[0.0, torch.inf], [0.0, 0.0]]), [0, 1], {}, ["row 0 of 2", "infinity"]),
        (torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]), [0, -1], {}, ["row 1 of 2", "NaN"]),
        (torch.zeros(3), [0, 1, 2], {}, [r"\(3,\)"]),
        (torch.eye(3), [0, 1, 2], {"target_prior": [1, 1]}, ["target_prior", r"\(2,\)", r"\(3,\)"]),
        (torch.eye(3), [0, 1, 2], {"target_prior": [1, -1, 1]}, ["target_prior", "class 1 is -1"]),
        (torch.eye(3), [0, 1, 2], {"target_prior": [1, np.nan, 1]}, ["target_prior", "class 1 is nan"]),
        (torch.eye(3), [0, 1, 2], {"target_prior": [0, 0, 0]}, ["target_prior", "all 0"]),
        (torch.eye(3), [0, 1, 1], {"target_prior": [0, 0, 1]}, ["target_prior is 0 for every class that has rows"]),
        (torch.eye(3), [0, 1, 2], {"costs": np.ones((2, 3))}, ["costs", r"\(2, 3\)", r"\(3, 3\)"]),
        (torch.eye(3), [0, 1, 2], {"costs": np.full((3, 3), np.nan)}, ["costs", "nan", "finite"]),
        (torch.eye(3), [0, 1, 2], {"replicates": -1}, ["replicates is -1"]),
    ],
)
def test_what_does_not_fit_is_refused(logits: Any, labels: Any, given_: Any, parts: list[str], refuses: Any) -> None:
    with refuses(*parts):
        evaluate(logits, labels, **given_)


@pytest.mark.parametrize("counts", [[float("nan"), 5], [5, -3]])
def test_counts_that_are_none_are_refused(counts: Any, refuses: Any) -> None:
    with refuses("counts", "class [01]", "0 or more"):
        evaluate(torch.eye(2), [0, 1], counts)
