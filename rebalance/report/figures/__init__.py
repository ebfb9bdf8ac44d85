"""The figures of a report: each a function of plain arrays that returns a Drawing."""

from __future__ import annotations

from rebalance.report.figures.before_after import before_after
from rebalance.report.figures.cones import cones
from rebalance.report.figures.confusions import confusions
from rebalance.report.figures.norms import norms
from rebalance.report.figures.recall import recall
from rebalance.report.figures.reliability import reliability
from rebalance.report.figures.tau_curve import tau_curve
from rebalance.report.figures.trade_off import Standing, trade_off

__all__ = [
    "Standing",
    "before_after",
    "cones",
    "confusions",
    "norms",
    "recall",
    "reliability",
    "tau_curve",
    "trade_off",
]
