"""Reliability diagrams: how often a head is right where it says how sure it is, a panel a shot group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rebalance.metrics.calibration import Reliability
from rebalance.report.drawing import Drawing
from rebalance.report.figures.axes import as_percent, legend_above
from rebalance.report.style import Style, head_labels, plain

LARGEST = 36.0  # area of the marker of the fullest bin, square points
SMALLEST = 2.0
# A bin with less than this part of an even share of the rows, or no more rows than this, is joined by a faint line.
SPARSE, LONELY = 0.25, 2


def reliability(
    panels: Mapping[str, Mapping[str, Reliability]], *, rows: Mapping[str, int], called: Mapping[str, str] | None = None
) -> Drawing:
    """Accuracy against confidence in bins, and below the share of the rows in each bin.

    panels: by group of rows, then by head: the bins. The same heads in every panel. rows: how many each group
    has. called: what the heads are called in the picture.
    """
    shown = called or head_labels(next(iter(panels.values())))
    heads = [shown[name] for name in next(iter(panels.values()))]

    def paint(figure: Figure, style: Style) -> None:
        axes = figure.subplots(2, len(panels), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1))
        for column, (group, bins) in enumerate(panels.items()):
            _draw_panel(
                axes[0, column], axes[1, column], list(bins.values()), style, rows[group], heads if column == 0 else []
            )
            errors = " → ".join(f"{100 * error_of(each):.1f} %" for each in bins.values())
            axes[0, column].set_title(f"{plain(group)}\nECE {errors}", fontsize=9)
        axes[0, 0].set(ylabel="accuracy", ylim=(-0.03, 1.03), yticks=np.linspace(0, 1, 6))
        axes[1, 0].set(ylabel="rows", ylim=(0, None))
        for row in axes[:, 0]:
            as_percent(row.yaxis)
        figure.supxlabel("confidence, %", fontsize=9)
        legend_above(figure, heads, 2.3 * len(panels))

    return Drawing(
        "reliability",
        "Reliability",
        "How often a head is right (above) for the confidence it states, and how many rows state it (below; the fewer, "
        "the smaller the marker). On the dashed line confidence is accuracy; below the line the head is too sure. ECE "
        "is the mean distance from it.",
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


def _draw_panel(
    above: Axes, below: Axes, bins: Sequence[Reliability], style: Style, rows: int, named: Sequence[str]
) -> None:
    """Draw one group's bins, a head after the other.

    rows: in all bins of a head. named: the heads for a legend, none where there is one already.
    """
    above.plot([0, 1], [0, 1], color=style.faint, linestyle=(0, (4, 3)), linewidth=0.9, zorder=1)
    for i, each in enumerate(bins):
        mark, met = style.mark(i), each.share > 0
        x, y, share = each.confidence[met], each.accuracy[met], each.share[met]
        look: dict[str, Any] = {"color": mark.colour, "linestyle": mark.line, "zorder": 3 + i}
        above.plot(x, y, linewidth=0.8, alpha=0.3, **look)
        sparse = (share < SPARSE / len(each.share)) | (share * rows < LONELY + 0.5)
        above.plot(x, np.where(sparse, np.nan, y), **look)
        sizes = SMALLEST + (LARGEST - SMALLEST) * share / share.max(initial=0.0) if len(share) else share
        above.scatter(x, y, sizes, color=mark.colour, marker=mark.marker, linewidths=0, zorder=3 + i, clip_on=False)
        if named:
            above.plot([], [], marker=mark.marker, markersize=5, label=named[i], **look)
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
