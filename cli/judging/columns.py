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
                return f"{value:.3f}"
            case "cost":
                return f"{value:.4g}"

    def signed(self, value: float) -> str:
        """The value with its sign, which one that rounds to zero has not."""
        text = self.text(abs(value))
        return f"{'-' if value < 0 else '+'}{text}" if text.strip("0.") else text

    def cell(self, head: Mapping[str, Any]) -> str:
        """The figure of a head, with half of its interval; a dash where it is not defined."""
        if head[self.key] is None:
            return DASH
        ends = head["intervals"].get(self.key) if self.half else None
        return self.text(head[self.key]) + ("" if ends is None else f"±{self.text((ends[1] - ends[0]) / 2)}")

    def difference(self, head: Mapping[str, Any]) -> Cell:
        """What the head has more than joint, with the interval; coloured where that leaves zero out."""
        found = (head["difference"] or {}).get(self.key)
        if found is None:
            return DASH
        if found["low"] is None:
            return self.signed(found["value"])
        text = f"{self.signed(found['value'])} [{self.signed(found['low'])}, {self.signed(found['high'])}]"
        if found["low"] <= 0 <= found["high"]:
            return text
        return text, GAIN if (found["low"] > 0) != self.lower else LOSS


BALANCED = Column("balanced", "balanced")
TOP5 = Column("top-5", "top5")
COST = Column("cost a row", "cost", "cost", lower=True)
ACCURACY = (
    Column("top-1", "top1"),
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
