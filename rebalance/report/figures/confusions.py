"""The classes that are most often taken for which others, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rebalance.report.drawing import Drawing
from rebalance.report.figures.axes import legend_above
from rebalance.report.style import Style, class_labels, head_labels

Ids = NDArray[np.int64]
SHOWN = 12


def confusions(
    wrong: Mapping[str, tuple[Ids, Ids, Ids]],
    num_classes: int,
    *,
    class_names: Sequence[str] | None = None,
    called: Mapping[str, str] | None = None,
    shown: int = SHOWN,
) -> Drawing:
    """The most confused pairs of a class and what it is taken for: bars of rows, one a head.

    wrong: by head its wrong pairs, labels, predictions and rows (P,) each. num_classes: K. class_names: K names.
    called: what the heads are called in the picture. shown: how many pairs; those that are most frequent under any of
    the heads.
    """
    counts = {
        name: dict(zip(zip(a.tolist(), b.tolist(), strict=True), rows.tolist(), strict=True))
        for name, (a, b, rows) in wrong.items()
    }
    most: dict[tuple[int, int], int] = {}
    for each in counts.values():
        for pair, rows in each.items():
            most[pair] = max(rows, most.get(pair, 0))
    pairs = sorted(most, key=lambda pair: (-most[pair], pair))[:shown]
    classes, heads = class_labels(class_names, num_classes, 22), called or head_labels(wrong)

    def paint(figure: Figure, style: Style) -> None:
        axes = figure.subplots()
        place, height = np.arange(len(pairs)), 0.8 / len(counts)
        for i, (name, each) in enumerate(counts.items()):
            mark = style.mark(i)
            axes.barh(
                place - 0.4 + (i + 0.5) * height,
                [each.get(pair, 0) for pair in pairs],
                height,
                color="none" if mark.hatch else mark.colour,
                edgecolor=mark.colour,
                hatch=mark.hatch,
                linewidth=0.8,
                label=heads[name],
            )
        axes.set_yticks(place, [f"{classes[a]} → {classes[b]}" for a, b in pairs], fontsize=8)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(pairs) - 0.5, -0.5)
        axes.set_xlabel("rows")
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        legend_above(figure, [heads[name] for name in counts], 7.2)

    return Drawing(
        "confusions",
        "Most confused pairs",
        f"The {len(pairs)} wrong pairs with most rows under any of the heads: class → what it is taken for.",
        ["class", "name", "taken for", "name of that", *(f"rows under {name}" for name in counts)],
        [
            [
                *(a, "" if class_names is None else class_names[a]),
                *(b, "" if class_names is None else class_names[b]),
                *(each.get((a, b), 0) for each in counts.values()),
            ]
            for a, b in pairs
        ],
        paint,
        (7.2, 1.1 + 0.34 * len(pairs)),
    )
