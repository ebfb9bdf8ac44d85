"""Reliability diagrams: how often a head is right where it says how sure it is, a panel a shot group."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rebalance.metrics.calibration import Reliability
from rebalance.report.drawing import Drawing
from rebalance.report.figures.axes import as_percent, legend_above
from rebalance.report.style import Style, label, plain


def reliability(panels: Mapping[str, Mapping[str, Reliability]]) -> Drawing:
    """Accuracy against confidence in bins, and below the share of the rows in each bin.

    panels: by group of rows, then by head: the bins. The same heads in every panel.
    """
    heads = list(next(iter(panels.values())))

    def paint(figure: Figure, style: Style) -> None:
        axes = figure.subplots(2, len(panels), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1))
        for column, (group, bins) in enumerate(panels.items()):
            _draw_panel(axes[0, column], axes[1, column], bins, style, first=column == 0)
            errors = " → ".join(f"{100 * error_of(each):.1f} %" for each in bins.values())
            axes[0, column].set_title(f"{plain(group)}\nECE {errors}", fontsize=9)
        axes[0, 0].set(ylabel="accuracy", ylim=(-0.03, 1.03), yticks=np.linspace(0, 1, 6))
        axes[1, 0].set(ylabel="rows", ylim=(0, None))
        for row in axes[:, 0]:
            as_percent(row.yaxis)
        figure.supxlabel("confidence, %", fontsize=9)
        legend_above(figure, [label(name) for name in heads], 2.3 * len(panels))

    return Drawing(
        "reliability",
        "Reliability",
        "How often a head is right (above) for the confidence it states, and how many rows state it (below). On the "
        "dashed line confidence is accuracy; below the line the head is too sure. ECE is the mean distance from it.",
        ["rows of", "head", "from", "to", "confidence", "accuracy", "share of rows"],
        [
            [group, name, *cells]
            for group, bins in panels.items()
            for name, each in bins.items()
            for cells in zip(each.low, each.high, each.confidence, each.accuracy, each.share, strict=True)
        ],
        paint,
        (max(4.2, 0.8 + 2.1 * len(panels)), 4.0),
    )


def error_of(bins: Reliability) -> float:
    """The expected calibration error that the bins show."""
    gap = np.where(bins.share > 0, bins.share * np.abs(bins.confidence - bins.accuracy), 0.0)
    return float(gap.sum())


def _draw_panel(above: Axes, below: Axes, bins: Mapping[str, Reliability], style: Style, *, first: bool) -> None:
    above.plot([0, 1], [0, 1], color=style.faint, linestyle=(0, (4, 3)), linewidth=0.9, zorder=1)
    for i, (name, each) in enumerate(bins.items()):
        mark, met = style.mark(i), each.share > 0
        above.plot(
            each.confidence[met],
            each.accuracy[met],
            color=mark.colour,
            linestyle=mark.line,
            marker=mark.marker,
            markersize=4,
            zorder=3 + i,
            label=label(name) if first else "",
        )
        width = (each.high - each.low) / len(bins)
        below.bar(
            each.low + i * width,
            each.share,
            width,
            align="edge",
            color="none" if mark.hatch else mark.colour,
            edgecolor=mark.colour,
            hatch=mark.hatch,
            linewidth=0.6,
        )
    above.set_xlim(0, 1)
    above.set_xticks([0, 0.5, 1], ["0", "50", "100"])
