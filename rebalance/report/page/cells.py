"""What stands in one cell of a table: the text, a smaller line under it, what it is sorted by, whether it is a gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

DASH = "–"
MINUS = "−"

Unit = Literal["percent", "number", "cost", "count"]


@dataclass(frozen=True)
class Cell:
    """One cell.

    text: what is shown. small: a second line in smaller type, or "". value: what it is sorted by, None where the text
    itself says it. tone: "gain" or "loss" where the difference is one beyond doubt, otherwise "".
    """

    text: str
    small: str = ""
    value: str | None = None
    tone: Literal["", "gain", "loss"] = ""


EMPTY = Cell(DASH)


def written(value: float, unit: Unit) -> str:
    """A figure as text: a share as a percentage with one decimal, a nat or score with three."""
    match unit:
        case "percent":
            text = f"{100 * value:.1f}"
        case "number":
            text = f"{value:.3f}"
        case "cost":
            text = f"{value:.4g}"
        case "count":
            text = f"{value:,.0f}"
    return text.replace("-", MINUS)


def signed(value: float, unit: Unit) -> str:
    """A difference as text, always with its sign; none where it rounds to zero."""
    text = written(abs(value), unit)
    if not any(digit in text for digit in "123456789"):
        return text
    return f"{MINUS if value < 0 else '+'}{text}"


def figure(value: float | None, unit: Unit, interval: Sequence[float] | None = None) -> Cell:
    """The cell of a figure.

    value: None for one that is not defined. interval: its low and high end, if there are any.
    """
    if value is None:
        return EMPTY
    small = "" if interval is None else f"{written(interval[0], unit)}{DASH}{written(interval[1], unit)}"
    return Cell(written(value, unit), small, f"{value:.9g}")


def difference(
    value: float | None, low: float | None, high: float | None, unit: Unit, better: Literal["high", "low"] = "high"
) -> Cell:
    """The cell of a difference; a gain or a loss only where its interval leaves zero out.

    value: None for one that is not defined. low, high: the ends of its interval, None without one.
    better: which direction is good.
    """
    if value is None:
        return EMPTY
    small, tone = "", ""
    if low is not None and high is not None:
        small = f"{signed(low, unit)} to {signed(high, unit)}"
        if low > 0 or high < 0:
            tone = "gain" if (value > 0) == (better == "high") else "loss"
    return Cell(signed(value, unit), small, f"{value:.9g}", tone)  # type: ignore[arg-type]


def probability(value: float) -> Cell:
    """The cell of a p-value."""
    text = "< 0.0001" if value < 1e-4 else f"{value:.4f}"
    return Cell(text, value=f"{value:.9g}")


def count(value: int) -> Cell:
    """The cell of a number of things."""
    return Cell(written(value, "count"))


def spanned(groups: Sequence[str]) -> list[tuple[str, int]]:
    """(title, number of columns) of every run of columns with one title above them; [] where none has any.

    groups: the title above every column, "" for none.
    """
    return [(title, len(list(run))) for title, run in groupby(groups)] if any(groups) else []
