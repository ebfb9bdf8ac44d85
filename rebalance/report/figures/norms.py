"""Weight norm against training rows: what joint training does to rare classes, and what is left of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from rebalance.report.drawing import Drawing
from rebalance.report.figures.axes import MANY_POINTS, log_counts
from rebalance.report.style import Mark, Style, head_labels

Floats = NDArray[np.float64]
COLUMNS = 3  # panels side by side
SMOOTHED = 1000  # more classes than this have a line of medians over their points
CENTRES = 200  # at most so many places of that line
NO_ROWS = 0.5  # where a class without training rows stands on the logarithmic axis


def norms(
    norms: Mapping[str, ArrayLike],
    counts: ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    called: Mapping[str, str] | None = None,
) -> Drawing:
    """Every class's weight norm against its training rows, a panel a head, with Spearman's correlation.

    norms: (K,) weight norm by head. counts: (K,) training rows. class_names: K names. called: what the heads
    are called in the picture.
    Source: Kang et al. (ICLR 2020), figure 2: joint training gives frequent classes the larger norms.
    """
    rows = np.asarray(counts)
    drawn = {name: relative(values) for name, values in norms.items()}
    heads = called or head_labels(norms)
    across = 2 if len(drawn) == 4 else min(len(drawn), COLUMNS)
    down = -(-len(drawn) // across)
    window = 2 * (len(rows) // 50) + 1
    medians = {name: running_median(each, rows, window) for name, each in drawn.items() if len(rows) > SMOOTHED}

    def paint(figure: Figure, style: Style) -> None:
        panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for i, (axes, (name, values)) in enumerate(zip(panels[: len(drawn)], drawn.items(), strict=True)):
            axes.set_title(f"{heads[name]}\n{correlation(values, rows)}", fontsize=9)
            draw_norms(axes, values, rows, style.mark(i), style, pixels=len(rows) * len(drawn) > MANY_POINTS)
            if name in medians:
                at = np.array(list(medians[name]))
                axes.plot(np.maximum(at, NO_ROWS), list(medians[name].values()), color=style.ink, linewidth=1.6)
        for axes in panels[len(drawn) :]:
            axes.set_visible(False)
        for axes in panels[max(0, len(drawn) - across) : len(drawn)]:
            axes.xaxis.set_tick_params(labelbottom=True)  # below it there may be no panel
        figure.supxlabel("training rows of the class", fontsize=9)
        figure.supylabel("weight norm / mean norm", fontsize=9)

    none = f" A class without training rows stands at {NO_ROWS:g}." if (rows == 0).any() else ""
    line = f" The line is the median of {window} classes with about as many training rows." if medians else ""
    return Drawing(
        "norms",
        "Weight norm against training rows",
        "The norm of every class's weight, relative to the head's mean; ρ is Spearman's correlation with the training "
        f"rows. Joint training tends to give frequent classes the larger norms, and so more of the space.{line}{none}",
        [
            "class",
            "name",
            "training rows",
            *(f"norm of {name} / mean" for name in drawn),
            *(f"median about {name}" for name in medians),
        ],
        [
            [
                *(k, "" if class_names is None else class_names[k], int(rows[k])),
                *(each[k] for each in drawn.values()),
                *(each.get(int(rows[k])) for each in medians.values()),
            ]
            for k in range(len(rows))
        ],
        paint,
        (max(4.0, 0.9 + 2.4 * across), 0.9 + 2.3 * down),
    )


def relative(norms: ArrayLike) -> Floats:
    """The norms (K,) over their mean; zeros stay zeros."""
    values = np.asarray(norms, dtype=np.float64)
    return values / (values.mean() or 1.0)


def draw_norms(
    axes: Axes, values: Floats, counts: NDArray[np.int64], mark: Mark, style: Style, *, pixels: bool, name: str = ""
) -> None:
    """Draw one head's points.

    values: (K,) relative norms. counts: (K,). pixels: whether an SVG holds them as an image. name: for a legend.
    """
    many = len(counts) > 100
    axes.scatter(
        np.maximum(counts, NO_ROWS),
        values,
        color=mark.colour,
        marker=mark.marker,
        s=6 if many else 22,
        alpha=0.5 if many else 0.9,
        linewidths=0,
        label=name,
        rasterized=pixels,
    )
    log_counts(axes, np.maximum(counts, NO_ROWS).tolist())
    axes.axhline(1.0, color=style.faint, linewidth=0.8, zorder=0)


def running_median(values: ArrayLike, counts: ArrayLike, window: int) -> dict[int, float]:
    """The median of the values of about so many classes with the nearest counts, by count: up to CENTRES, ascending.

    values, counts: (K,). window: odd; all classes of one count belong together, however many they are.
    """
    order = np.argsort(counts, kind="stable")
    rows, sorted_values = np.asarray(counts)[order], np.asarray(values)[order]
    distinct = np.unique(rows)
    found = {}
    for count in distinct[np.unique(np.linspace(0, len(distinct) - 1, CENTRES).round().astype(int))].tolist():
        low, high = np.searchsorted(rows, count), np.searchsorted(rows, count, side="right")
        middle = (low + high - 1) // 2
        part = slice(max(0, min(low, middle - window // 2)), max(high, middle + window // 2 + 1))
        found[int(count)] = float(np.median(sorted_values[part]))
    return found


def correlation(values: Floats, counts: NDArray[np.int64]) -> str:
    """Spearman's correlation of norms and training rows in words: equal norms have none."""
    rho = spearman(values, counts)
    return "no correlation" if math.isnan(rho) else f"ρ = {rho:+.2f}".replace("-", "−")


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation; NaN where one side is constant (equal norms have no order)."""
    from scipy.stats import rankdata

    # Norms that differ by rounding are equal: rank them so, or their noise would be called a correlation.
    x = rankdata(np.round(np.asarray(a, dtype=np.float64) / (np.max(np.abs(a)) or 1.0), 5))
    y = rankdata(b)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])
