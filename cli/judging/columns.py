"""A figure of judged heads as a column of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..output import Cell

DASH = "–"
GAIN, LOSS = "green", "red"
GROUPS = ("many", "medium", "few")

Unit = Literal["percent", "small percent", "number", "cost"]


@dataclass(frozen=True)
class Column:
    """A figure in a table.

    title: over it. key: of the figure. unit: shares are shown as percentages, small ones with two decimals.
    half: whether ± is shown beside it. lower: whether lower is better.
    """

    title: str
    key: str
    unit: Unit = "percent"
    half: bool = True
    lower: bool = False

    def text(self, value: float) -> str:
        """The value in its unit."""
        match self.unit:
            case "percent":
                return f"{100 * value:.1f}"
            case "small percent":
                return f"{100 * value:.2f}"
            case "number":
                return f"{value:.3f}" if abs(value) < 1e4 else f"{value:.3g}"
            case "cost":
                return f"{value:.4g}" if abs(value) >= 1e-9 else "0"  # the rounding of a sum is no cost

    def signed(self, value: float) -> str:
        """The value with its sign, which one that rounds to zero has not."""
        text = self.text(abs(value))
        return f"{'-' if value < 0 else '+'}{text}" if text.strip("0.") else text

    def cell(self, head: Mapping[str, Any]) -> str:
        """The figure of a head, with half of its interval, or all of a lopsided one; a dash where it is not defined."""
        if head[self.key] is None:
            return DASH
        value, ends = head[self.key], head["intervals"].get(self.key) if self.half else None
        if ends is None:
            return self.text(value)
        below, above = value - ends[0], ends[1] - value
        if max(below, above) > 1.5 * min(below, above) and self.text(below) != self.text(above):
            return f"{self.text(value)} [{self.text(ends[0])}, {self.text(ends[1])}]"
        return f"{self.text(value)}±{self.text((below + above) / 2)}"

    def spanned(self, found: Mapping[str, float | None]) -> str:
        """A difference with its interval, where it has one."""
        value, low, high = (found[key] for key in ("value", "low", "high"))
        text = self.signed(value or 0.0)
        return text if low is None or high is None else f"{text} [{self.signed(low)}, {self.signed(high)}]"

    def difference(self, head: Mapping[str, Any]) -> Cell:
        """What the head has more than another, with the interval; coloured where that leaves zero out."""
        found = (head["difference"] or {}).get(self.key)
        if found is None:
            return DASH
        text = self.spanned(found)
        if found["low"] is None or found["low"] <= 0 <= found["high"]:
            return text
        return text, GAIN if (found["low"] > 0) != self.lower else LOSS


TOP1 = Column("top-1", "top1")
BALANCED = Column("balanced", "balanced")
TOP5 = Column("top-5", "top5")
COST = Column("cost a row", "cost", "cost", lower=True)
ACCURACY = (
    TOP1,
    TOP5,
    BALANCED,
    Column("many", "many"),
    Column("medium", "medium"),
    Column("few", "few"),
    Column("worst", "worst", half=False),  # mostly a class of few rows: its interval is wide and says little
    Column("macro F1", "macro_f1"),
)
PROBABILITIES = (
    Column("NLL", "nll", "number", lower=True),
    Column("Brier", "brier", "number", lower=True),
    Column("ECE", "ece", lower=True),
    Column("ECE many", "ece_many", lower=True),
    Column("ECE medium", "ece_medium", lower=True),
    Column("ECE few", "ece_few", lower=True),
    Column("equal mass", "ece_equal_mass", lower=True),
    Column("class-wise", "ece_classwise", "small percent", lower=True),
)
GOALS = {column.key: column for column in (BALANCED, TOP1, COST)}  # what heads may be ranked by
COSTS = (COST, Column("of least expected cost", "minimum_risk_cost", "cost", lower=True))
MEANS = (
    Column("worst", "worst"),
    Column("harmonic mean", "harmonic"),
    Column("geometric mean", "geometric"),
    Column("weighted F1", "weighted_f1"),
    Column("macro precision", "macro_precision"),
)
GROUPS_CALIBRATED = (
    *(Column(f"equal mass {group}", f"ece_equal_mass_{group}", lower=True) for group in GROUPS),
    *(Column(f"class-wise {group}", f"ece_classwise_{group}", "small percent", lower=True) for group in GROUPS),
)
COMPARED = tuple(
    column
    for column in (*ACCURACY, *PROBABILITIES)
    if column.key in ("top1", "balanced", "many", "medium", "few", "macro_f1", "nll", "ece")
)
