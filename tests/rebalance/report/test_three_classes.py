"""The three classes are those where something happened."""

from __future__ import annotations

from typing import Any

import numpy as np

from rebalance import Report, evaluate
from rebalance.classes import Shots
from rebalance.report.three_classes import three_classes


def judged(truth: list[int], guesses: list[int], counts: list[int] | None) -> Report:
    logits = 4.0 * np.eye(5)[guesses]
    return evaluate(logits, np.array(truth), counts, shots=Shots(10, 50))


TRUTH = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
COUNTS = [100, 30, 5, 4, 3]


def test_a_rare_class_that_gained_and_what_it_was_taken_for() -> None:
    before = judged(TRUTH, [0, 0, 0, 1, 1, 1, 0, 3, 3, 3, 3, 3], COUNTS)
    after = judged(TRUTH, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], COUNTS)
    assert three_classes(before, after) == (2, 3, 0)


def test_the_gain_decides_not_the_recall() -> None:
    before = judged(TRUTH, [0, 0, 0, 1, 1, 1, 2, 2, 0, 1, 1, 1], COUNTS)
    after = judged(TRUTH, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 1], COUNTS)
    assert three_classes(before, after) == (3, 1, 0)  # 1, then the class with most rows of the lowest id


def test_without_counts_every_class_may_be_it() -> None:
    before = judged(TRUTH, [0, 0, 0, 2, 2, 3, 2, 2, 2, 3, 3, 3], None)
    after = judged(TRUTH, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], None)
    assert three_classes(before, after) == (1, 2, 3)


def test_a_class_without_rows_is_never_among_them() -> None:
    before = judged(TRUTH, [0, 0, 0, 1, 1, 1, 4, 4, 4, 3, 3, 3], COUNTS)
    after = judged(TRUTH, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], COUNTS)
    assert three_classes(before, after) == (2, 0, 1)


def test_fewer_than_three_classes_with_rows() -> None:
    report = judged([0, 0, 1], [0, 1, 1], COUNTS)
    assert three_classes(report, report) is None


def test_heads_without_mistakes_still_have_three() -> None:
    report = judged(TRUTH, TRUTH, COUNTS)
    chosen: Any = three_classes(report, report)
    assert len(set(chosen)) == 3
