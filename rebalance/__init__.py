"""Rebalance the classifier of a trained model: heads, methods, tuning and metrics over cached features."""

from __future__ import annotations

from rebalance.classes import Shots, class_counts
from rebalance.head import LinearHead, NormalizedHead, load_head
from rebalance.methods import METHODS
from rebalance.metrics import Report, evaluate
from rebalance.tuning import Tuned, tune

__all__ = [
    "METHODS",
    "LinearHead",
    "NormalizedHead",
    "Report",
    "Shots",
    "Tuned",
    "class_counts",
    "evaluate",
    "load_head",
    "tune",
]
