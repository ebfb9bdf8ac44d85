"""Rebalance the classifier of a trained model: heads, methods, tuning and metrics over cached features."""

from __future__ import annotations

from rebalance.classes import Shots, class_counts
from rebalance.head import GatedHead, LinearHead, NormalizedHead
from rebalance.head_file import load_head
from rebalance.methods import METHODS
from rebalance.metrics import Report, evaluate, evaluate_head
from rebalance.tuning import Tuned, tune

__all__ = [
    "METHODS",
    "GatedHead",
    "LinearHead",
    "NormalizedHead",
    "Report",
    "Shots",
    "Tuned",
    "class_counts",
    "evaluate",
    "evaluate_head",
    "load_head",
    "tune",
]
