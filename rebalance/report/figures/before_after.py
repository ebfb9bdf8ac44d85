"""Two pictures side by side: recall per class, and weight norm against class size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from rebalance.report.drawing import Drawing
from rebalance.report.figures.axes import MANY_POINTS, legend_above
from rebalance.report.figures.norms import correlation, draw_norms, relative
from rebalance.report.figures.recall import draw_recall
from rebalance.report.style import Style, head_labels


def before_after(
    recalls: Mapping[str, ArrayLike],
    norms: Mapping[str, ArrayLike],
    counts: ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
) -> Drawing:
    """Both pictures in one figure, for a slide or a readme.

    recalls: (K,) recall per class by head, the first the one to compare with; NaN where a class has no row.
    norms: (K,) weight norm per class by head. counts: (K,) training rows a class. class_names: K names.
    """
    rows = np.asarray(counts)
    recall = {name: np.asarray(values, dtype=np.float64) for name, values in recalls.items()}
    norm = {name: relative(values) for name, values in norms.items()}

    called = head_labels(dict.fromkeys((*recalls, *norms)))

    def paint(figure: Figure, style: Style) -> None:
        halves: Any = figure.subfigures(1, 2, width_ratios=(3, 2))
        left, right = halves
        axes = left.subplots()
        axes.set_title("Recall per class")
        draw_recall(axes, recall, rows, style, class_names=class_names, called=called, width=5.2)
        legend_above(left, [called[name] for name in recall], 6.6)
        axes = right.subplots()
        shown = {name: f"{called[name]} ({correlation(values, rows)})" for name, values in norm.items()}
        for i, (name, values) in enumerate(norm.items()):
            pixels = len(rows) * len(norm) > MANY_POINTS
            draw_norms(axes, values, rows, style.mark(i), style, pixels=pixels, name=shown[name])
        axes.set(title="Weight norm against class size", xlabel="training rows", ylabel="weight norm / mean norm")
        legend_above(right, list(shown.values()), 4.4)

    return Drawing(
        "before_after",
        "Recall and weight norm per class",
        "Left: recall of every class, most training rows first (grey: training rows). Right: the norm of its weight.",
        [
            *("class", "name", "training rows"),
            *(f"recall of {name}" for name in recall),
            *(f"norm of {name} / mean" for name in norm),
        ],
        [
            [
                *(k, "" if class_names is None else class_names[k], int(rows[k])),
                *(each[k] for each in (*recall.values(), *norm.values())),
            ]
            for k in range(len(rows))
        ],
        paint,
        (11.0, 4.8),
    )
