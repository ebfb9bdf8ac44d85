"""Which three classes a picture of decision cones is of, where nobody says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rebalance.metrics import Report, confusions


def three_classes(before: Report, after: Report) -> tuple[int, int, int] | None:
    """A rare class that gained most, and the two classes it is most often taken for before.

    Of the classes few, or of all where none of them has rows. Where it is taken for fewer than two others, classes it
    is taken for afterwards stand in, then those with most rows. None where fewer than three classes have rows.
    """
    has_rows = before.class_rows > 0
    if has_rows.sum() < 3:
        return None
    rare = before.groups.get("few", has_rows) & has_rows
    gain = np.where(rare if rare.any() else has_rows, np.nan_to_num(after.recall - before.recall), -np.inf)
    chosen = int(np.argmax(gain))
    others: list[int] = []
    for k in _rivals(chosen, before, after):
        if k != chosen and k not in others and has_rows[k]:
            others.append(k)
    return chosen, others[0], others[1]


def _rivals(chosen: int, before: Report, after: Report) -> Iterator[int]:
    """Classes the chosen one is taken for, most often first, then all classes, most rows first."""
    for report in (before, after):
        labels, predictions, _ = confusions(report.results, len(report.recall))
        yield from predictions[labels == chosen].tolist()
    yield from np.argsort(-before.class_rows, kind="stable").tolist()
