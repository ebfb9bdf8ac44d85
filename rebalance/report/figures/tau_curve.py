"""The accuracy along an exact path: every value of the hyperparameter, not a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rebalance.report.drawing import Drawing
from rebalance.report.figures.axes import as_percent, legend_above
from rebalance.report.style import Style, plain
from rebalance.search.path import StepCurve

Floats = NDArray[np.float64]
COLUMNS = 1200  # pixels across: of more stretches the first, lowest, highest and last in each are drawn
REACH = 3.0  # the curve is drawn from 0 to here, further where the chosen value lies beyond


def tau_curve(
    curves: Mapping[str, StepCurve],
    *,
    method: str,
    parameter: str,
    chosen: float,
    interval: tuple[float | None, float | None] | None,
    split: str,
    name: str = "tau_curve",
) -> Drawing:
    """Accuracy as a step function of a hyperparameter, with the value that was chosen.

    curves: by what is measured ("balanced", "many" …), the first drawn strongest. method, parameter: their names.
    chosen: the value. interval: the stretch it was chosen from, None an open end; None: not known. split: the rows
    that judged. name: of the files.
    """
    low, high = min(0.0, 1.1 * chosen), max(REACH, 1.1 * chosen)
    steps = {what: clipped(curve, low, high) for what, curve in curves.items()}
    breakpoints = np.unique(np.concatenate([edges for edges, _ in steps.values()]))
    ends = None if interval is None else _ends(interval)

    def paint(figure: Figure, style: Style) -> None:
        axes = figure.subplots()
        for i, (what, (edges, values)) in enumerate(steps.items()):
            mark = style.mark(i)
            colour, width = (style.ink, 2.0) if i == 0 else (mark.colour, 1.4)
            x, y = thinned(edges, values)
            (line,) = axes.plot(np.repeat(x, 2)[1:-1], np.repeat(y, 2))
            # The line has a corner a step; the marker stands at the chosen value only, and in the legend.
            (shown,) = axes.plot([], [], marker=mark.marker, label=plain(what))
            for each in (line, shown):
                each.set(color=colour, linestyle=mark.line, linewidth=width, zorder=4 - i / 10)
            axes.plot([chosen], curves[what](chosen), mark.marker, color=colour, markersize=6, zorder=6)
        axes.axvline(chosen, color=style.ink, linewidth=0.9, linestyle=(0, (2, 2)), zorder=3)
        words = f"chosen: {parameter} = {_written(chosen)}"
        if ends is not None:
            axes.axvspan(max(low, ends[0]), min(high, ends[1]), color=style.bars, linewidth=0.8, zorder=0)
            words += f", from the shaded stretch {_written(ends[0])} to {_written(ends[1])}"
        axes.set_title(words, fontsize=9)
        axes.set(xlim=(low, high), xlabel=f"{parameter} of {plain(method)}", ylabel=f"mean recall on {plain(split)}")
        as_percent(axes.yaxis)
        legend_above(figure, [plain(what) for what in curves], 7.2)

    return Drawing(
        name,
        f"Every {parameter} of {method}",
        f"Mean recall over all classes and over each shot group on {split} for every value of {parameter}: exact, "
        "each step is a row that becomes right or wrong. Shaded: the stretch that the value was chosen from.",
        [f"{parameter} from", f"{parameter} to", *curves],
        np.stack(
            [breakpoints[:-1], breakpoints[1:], *(curve(breakpoints[:-1]) for curve in curves.values())], axis=1
        ).tolist(),
        paint,
    )


def clipped(curve: StepCurve, low: float, high: float) -> tuple[Floats, Floats]:
    """The edges (M + 1,) and values (M,) of the stretches within a finite range."""
    inside = (curve.breakpoints > low) & (curve.breakpoints < high)
    edges = np.concatenate([[low], curve.breakpoints[inside], [high]])
    return edges, curve(edges[:-1])  # at a breakpoint the curve has the value of the stretch above it


def thinned(edges: Floats, values: Floats, columns: int = COLUMNS) -> tuple[Floats, Floats]:
    """The same steps where they are few; else those that can be seen in a picture so many pixels wide.

    Of the stretches that begin in one pixel the first, the lowest, the highest and the last are kept, which covers the
    same pixels.
    """
    if len(values) <= 4 * columns:
        return edges, values
    pixel = ((edges[:-1] - edges[0]) / (edges[-1] - edges[0]) * columns).astype(np.int64)
    starts = np.flatnonzero(np.diff(pixel, prepend=-1))
    ends = np.append(starts[1:], len(pixel)) - 1
    by_value = np.lexsort((values, pixel))
    kept = np.unique(np.concatenate([starts, ends, by_value[starts], by_value[ends]]))
    return np.append(edges[kept], edges[-1]), values[kept]


def _ends(interval: tuple[float | None, float | None]) -> tuple[float, float]:
    low, high = interval
    return -math.inf if low is None else low, math.inf if high is None else high


def _written(value: float) -> str:
    """A number of three digits, infinity as such."""
    return f"{value:.3g}".replace("inf", "∞").replace("-", "−")
