"""How good a head is: pure functions of logits, labels and training counts.

`evaluate` and `evaluate_head` give a `Report`. Behind them: one pass over the logits (rows), sums over rows and
the figures that follow from them (sums, accuracy, calibration, classwise), and how sure they are (intervals).
"""

from __future__ import annotations

from rebalance.metrics.accuracy import balanced_row_weights
from rebalance.metrics.calibration import (
    ECE_BINS,
    Reliability,
    equal_mass_error,
    expected_calibration_error,
    reliability,
)
from rebalance.metrics.confusions import confusion_matrix, confusions
from rebalance.metrics.evaluation import evaluate, evaluate_head
from rebalance.metrics.intervals import Difference, McNemar, mcnemar
from rebalance.metrics.report import FIGURES, Report
from rebalance.metrics.rows import RowResults, correct_rows, refuse_bad_logits

__all__ = [
    "ECE_BINS",
    "FIGURES",
    "Difference",
    "McNemar",
    "Reliability",
    "Report",
    "RowResults",
    "balanced_row_weights",
    "confusion_matrix",
    "confusions",
    "correct_rows",
    "equal_mass_error",
    "evaluate",
    "evaluate_head",
    "expected_calibration_error",
    "mcnemar",
    "refuse_bad_logits",
    "reliability",
]
