"""The figures against scikit-learn's and plain loops."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss

from rebalance import Report, Shots, evaluate
from rebalance.metrics import (
    FIGURES,
    balanced_row_weights,
    correct_rows,
    expected_calibration_error,
)

CASES = st.tuples(st.integers(1, 60), st.integers(2, 7), st.integers(0, 2**32 - 1))


def draw(case: tuple[int, int, int]) -> tuple[torch.Tensor, np.ndarray[Any, Any]]:
    """Logits (N, K) and labels (N,) that need not hold every class."""
    rows, classes, seed = case
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    logits = rng.normal(size=(rows, classes))
    logits[np.arange(rows), labels] += 1
    return torch.from_numpy(logits.astype(np.float32)), labels


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")  # such problems are the point here
@pytest.mark.filterwarnings("ignore:A single label was found")
@given(CASES)
def test_figures_are_those_of_scikit_learn(case: tuple[int, int, int]) -> None:
    logits, labels = draw(case)
    report = evaluate(logits, labels)
    guess = logits.argmax(1).numpy()
    probability = torch.softmax(logits.double(), 1).numpy()
    assert report.top1 == pytest.approx(accuracy_score(labels, guess))
    assert report.balanced == pytest.approx(balanced_accuracy_score(labels, guess))
    assert report.macro_f1 == pytest.approx(f1_score(labels, guess, average="macro", zero_division=0.0))
    assert report.nll == pytest.approx(log_loss(labels, probability, labels=range(case[1])))
    assert report.ece == pytest.approx(ece_by_loop(probability.max(1), guess == labels))
    assert report.rows == len(labels)


@given(CASES)
def test_recall_and_groups_are_those_of_a_loop(case: tuple[int, int, int]) -> None:
    logits, labels = draw(case)
    counts = np.random.default_rng(case[2]).choice([1, 19, 20, 100, 101, 500], case[1])
    report = evaluate(logits, labels, counts)
    guess = logits.argmax(1).numpy()
    recall = {k: float((guess[labels == k] == k).mean()) for k in range(case[1]) if (labels == k).any()}
    for k in range(case[1]):
        assert report.recall[k] == pytest.approx(recall.get(k, math.nan), nan_ok=True)
    rules = {"many": lambda n: n > 100, "medium": lambda n: 20 <= n <= 100, "few": lambda n: n < 20}
    for name, rule in rules.items():
        group = [value for k, value in recall.items() if rule(counts[k])]
        assert getattr(report, name) == (pytest.approx(np.mean(group)) if group else None)


@given(CASES, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(case: tuple[int, int, int], random: Any) -> None:
    logits, labels = draw(case)
    order = list(range(len(labels)))
    random.shuffle(order)
    counts = np.arange(case[1]) * 30
    report, shuffled = evaluate(logits, labels, counts), evaluate(logits[order], labels[order], counts)
    for name, value in report.figures().items():
        # Means of at most 60 float64 numbers in another order.
        same = None if value is None else pytest.approx(value, rel=1e-12, abs=1e-15)
        assert getattr(shuffled, name) == same
    np.testing.assert_array_equal(shuffled.recall, report.recall)


@given(CASES)
def test_unlabelled_rows_are_left_out(case: tuple[int, int, int]) -> None:
    logits, labels = draw(case)
    noise = torch.randn(5, case[1], generator=torch.Generator().manual_seed(case[2]))
    more = torch.cat([noise[:2], logits, noise[2:]])
    padded = np.concatenate([[-1, -1], labels, [-1, -1, -1]])
    assert evaluate(more, padded).to_dict() == evaluate(logits, labels).to_dict()


def ece_by_loop(confidence: Any, correct: Any, bins: int = 15) -> float:
    total = 0.0
    for b in range(bins):
        inside = [i for i, c in enumerate(confidence) if b / bins < c <= (b + 1) / bins or (b == 0 and c == 0)]
        if inside:
            gap = np.mean([confidence[i] for i in inside]) - np.mean([correct[i] for i in inside])
            total += len(inside) / len(confidence) * abs(gap)
    return total


@given(st.lists(st.tuples(st.floats(0, 1) | st.sampled_from([b / 15 for b in range(16)]), st.booleans()), min_size=1))
def test_calibration_error_is_that_of_a_loop(rows: list[tuple[float, bool]]) -> None:
    confidence, correct = zip(*rows, strict=True)
    assert expected_calibration_error(confidence, correct) == pytest.approx(ece_by_loop(confidence, correct), abs=1e-12)


@pytest.mark.parametrize(
    ("confidence", "correct", "expected"),
    [
        ([0.0], [False], 0.0),
        ([0.0], [True], 1.0),
        ([1.0], [True], 0.0),
        ([1.0], [False], 1.0),
        # 0.2 = 3/15 closes the third bin: with 0.19 it is in one bin, with 0.21 it is not.
        ([0.2, 0.19], [True, False], abs((0.2 + 0.19 - 1) / 2)),
        ([0.2, 0.21], [True, False], (0.8 + 0.21) / 2),
    ],
)
def test_calibration_error_at_the_edges(confidence: list[float], correct: list[bool], expected: float) -> None:
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected)


def test_a_confident_head_is_counted_in_the_last_bin() -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    assert evaluate(logits, [0, 1]).ece == 0
    wrong = evaluate(logits, [1, 0])
    assert wrong.ece == 1
    assert wrong.nll == pytest.approx(2e4)


def test_many_bins_are_asked_for() -> None:
    assert expected_calibration_error([0.5, 1.0], [True, False], bins=1) == pytest.approx(0.25)


def test_ties_go_to_the_lowest_class() -> None:
    logits = torch.zeros(3, 3)
    assert evaluate(logits, [0, 1, 2]).recall.tolist() == [1, 0, 0]
    assert correct_rows(logits, torch.tensor([0, 1, 2])).tolist() == [True, False, False]


def test_without_counts_there_are_no_groups() -> None:
    report = evaluate(torch.eye(3), [0, 1, 2])
    assert (report.many, report.medium, report.few) == (None, None, None)


def test_shots_move_the_groups() -> None:
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    report = evaluate(logits, [0, 1], [30, 4], shots=Shots(5, 20))
    assert (report.many, report.medium, report.few) == (1.0, None, 0.0)
    assert report.rule == Shots(5, 20).rule


@pytest.mark.parametrize("kind", ["float16", "memmap", "float64", "slices", "tensor counts"])
def test_logits_and_counts_of_any_kind(kind: str, slice_only: Any, tmp_path: Any) -> None:
    logits, labels = draw((40, 5, 0))
    logits = logits.half().float()  # exact in float16
    counts: Any = np.array([500, 50, 30, 5, 1])
    expected = evaluate(logits, labels, counts).to_dict()
    rows: Any = logits.numpy()
    if kind == "float16":
        rows = rows.astype(np.float16)
    elif kind == "float64":
        rows = rows.astype(np.float64)
    elif kind == "memmap":
        rows.tofile(tmp_path / "logits.bin")
        rows = np.memmap(tmp_path / "logits.bin", np.float32, "r", shape=(40, 5))
    elif kind == "slices":
        rows = slice_only(rows)
    else:
        counts = torch.from_numpy(counts)
    assert evaluate(rows, labels, counts).to_dict() == expected


def test_logits_that_carry_a_gradient_are_judged_like_others() -> None:
    logits, labels = draw((40, 5, 2))
    assert evaluate(logits.clone().requires_grad_(), labels).to_dict() == evaluate(logits, labels).to_dict()


def test_correct_rows_refuse_nan_and_know_no_unlabelled_row(refuses: Any) -> None:
    assert correct_rows(torch.eye(2), torch.tensor([0, -1])).tolist() == [True, False]
    with refuses("row 1 of 2", "NaN"):
        correct_rows(torch.tensor([[0.0, 1.0], [0.0, torch.nan]]), torch.tensor([0, 1]))


def test_blocks_do_not_change_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = draw((40, 5, 1))
    labels[::7] = -1
    expected = evaluate(logits, labels).to_dict()
    monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 4 * 5 * 7)
    assert evaluate(logits, labels).to_dict() == expected


def test_the_report_is_plain_json_in_the_order_of_the_figures() -> None:
    report = evaluate(torch.eye(3)[:2], [0, 1], [200, 30, 1])
    parsed = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert list(report.figures()) == list(FIGURES)
    assert parsed["few"] is None
    assert parsed["recall"] == [1.0, 1.0, None]
    assert all(value is None or type(value) is float for value in report.figures().values())


def test_the_report_prints_every_figure_and_the_rule() -> None:
    text = str(evaluate(torch.eye(3)[:2], [0, 1], [200, 30, 1]))
    names, values, rule = text.splitlines()
    assert names.split() == list(FIGURES)
    assert values.split()[:5] == ["1.000", "1.000", "1.000", "1.000", "-"]
    assert rule == "2 rows; many > 100, medium 20..100, few < 20 training rows"


@pytest.mark.parametrize(
    ("logits", "labels", "counts", "parts"),
    [
        (torch.eye(3), [0, 1], None, ["2 labels", "3 rows"]),
        (torch.eye(3), [0, 1, 2], [5, 5], ["counts have shape", "(2,)", "3 classes"]),
        (torch.eye(3), [0, 1, 2], np.ones((3, 1)), ["counts"]),
        (torch.eye(3), [0, 1, 3], None, ["label 3", r"0\.\.2"]),
        (torch.eye(3), [0, 1, -2], None, ["label -2"]),
        (torch.eye(3), [-1, -1, -1], None, ["no row has a label"]),
        (torch.zeros(0, 3), np.zeros(0, np.int64), None, ["no row has a label"]),
        (torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]), [0, 1], None, ["row 1 of 2", "NaN"]),
        (torch.tensor([[0.0, torch.inf], [0.0, 0.0]]), [0, 1], None, ["row 0 of 2", "infinity"]),
        (torch.zeros(3), [0, 1, 2], None, [r"\(3,\)"]),
    ],
)
def test_what_does_not_fit_is_refused(logits: Any, labels: Any, counts: Any, parts: list[str], refuses: Any) -> None:
    with refuses(*parts):
        evaluate(logits, labels, counts)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(0, 99))
def test_balanced_row_weights_sum_to_balanced_accuracy(labels: list[int], seed: int) -> None:
    truth = np.array(labels)
    right = np.random.default_rng(seed).random(len(truth)) < 0.5
    expected = np.mean([right[truth == k].mean() for k in np.unique(truth)])
    assert balanced_row_weights(truth) @ right == pytest.approx(expected)


def test_a_report_is_frozen() -> None:
    report = evaluate(torch.eye(2), [0, 1])
    assert isinstance(report, Report)
    with pytest.raises(AttributeError):
        report.top1 = 0.5  # type: ignore[misc]
