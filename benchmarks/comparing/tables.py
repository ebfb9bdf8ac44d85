"""The rows of a data set as a table, for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from comparing.pairs import is_unfinished, median
from comparing.questions import CANDIDATES, OWNERS

COLUMNS = ("", "whose", "fit, s", "to ours", "predict, s", "memory, MB", "with data, MB", "balanced", "few", "ECE", "")
Cells = tuple[str, ...]
MEGA = 1e6


def lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Cells]]]:
    """Every question with the cells of its rows, in the columns of COLUMNS. rows: as `race` gives them."""
    made = {row["name"]: row for row in rows}
    there = [candidate for candidate in CANDIDATES if candidate.name in made]
    for question, group in groupby(there, key=lambda candidate: candidate.question):
        cells = []
        for candidate in group:
            row, ours = made[candidate.name], made.get(candidate.against)
            cells.append((candidate.name, OWNERS[candidate.side], *_times(row, ours), *_figures(row)))
        yield question, cells


def times(ratio: float) -> str:
    """How many times as long, in two digits."""
    return f"{ratio:.2g} x" if ratio < 99.5 else f"{ratio:,.0f} x"


def _times(row: Mapping[str, Any], ours: Mapping[str, Any] | None) -> Cells:
    if row["stopped"]:
        return "", "", "", "", ""
    least = ">" if is_unfinished(row) else ""
    ratio = "" if ours is None or ours["stopped"] else f"{least}{times(median(row) / median(ours))}"
    beyond = row["peak"] - row["libraries"]
    return seconds(median(row)), ratio, seconds(row["predict"]), f"{row['peak'] / MEGA:.0f}", f"{beyond / MEGA:.0f}"


def _figures(row: Mapping[str, Any]) -> Cells:
    if row["stopped"]:
        return "", "", "", row["stopped"]
    return (*(percent(row["figures"][name]) for name in ("balanced", "few", "ece")), row["note"])


def seconds(value: float) -> str:
    """Three digits, or as many as say anything."""
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"


def text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table in columns of equal width."""
    grouped = list(lines(rows))
    every = [COLUMNS, *(cells for _, group in grouped for cells in group)]
    widths = [max(len(cells[i]) for cells in every) for i in range(len(COLUMNS))]
    printed = [_aligned(COLUMNS, widths)]
    for question, group in grouped:
        printed += [question, *(_aligned(cells, widths) for cells in group)]
    return "\n".join(printed)


def _aligned(cells: Cells, widths: Sequence[int]) -> str:
    left, right = cells[:2], cells[2:-1]
    words = [f"{cell:<{width}}" for cell, width in zip(left, widths, strict=False)]
    numbers = [f"{cell:>{width}}" for cell, width in zip(right, widths[2:], strict=False)]
    return "  ".join(["", *words, *numbers, cells[-1]]).rstrip()


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of a page, a line for every question above its rows."""
    printed = [markdown_row(COLUMNS), markdown_row(("---", "---", *["---:"] * 8, "---"))]
    for question, group in lines(rows):
        printed.append(markdown_row((f"**{question}**", *[""] * 10)))
        printed += [markdown_row((f"`{name}`", *rest)) for name, *rest in group]
    return "\n".join(printed)


def markdown_row(cells: Sequence[str]) -> str:
    """One line of a table of a page."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("~", "\\~") for cell in cells) + " |"
