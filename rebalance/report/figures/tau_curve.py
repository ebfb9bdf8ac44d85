"""The accuracy along an exact path: every value of the hyperparameter, not a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rebalance.report.drawing import Drawing
from rebalance.report.figures.axes import as_percent, legend_above, within
from rebalance.report.style import Style, plain
from rebalance.search.path import StepCurve

Floats = NDArray[np.float64]
Ends: TypeAlias = tuple[float | None, float | None]
Stretch: TypeAlias = tuple[float, float]
COLUMNS = 1200  # pixels across: of more stretches the first, lowest, highest and last in each are drawn
SEARCHED = (
    0.0,
    3.0,
)  # the range that values are taken from; the curve is drawn over it, and as far as the stretch goes
FARTHEST = 3.0  # beyond the range, except for the chosen value itself
SAME = 1e-6  # relative: what a stored value may differ from the one computed


def tau_curve(
    curves: Mapping[str, StepCurve],
    *,
    method: str,
    parameter: str,
    chosen: float,
    interval: Ends | None,
    split: str,
    called: str | None = None,
    name: str = "tau_curve",
) -> Drawing:
    """Accuracy as a step function of a hyperparameter, with the value that was chosen.

    curves: by what is measured ("balanced", "many" …), the first drawn strongest. method, parameter: their names.
    chosen: the value. interval: the stretch it was chosen from, None an open end; None: not known. split: the rows
    that judged. called: what the head is called in the picture. name: of the files.
    """
    low, high = _reach(chosen, interval)
    steps = {what: clipped(curve, low, high) for what, curve in curves.items()}
    breakpoints = np.unique(np.concatenate([edges for edges, _ in steps.values()]))
    shaded, words = _chosen(*next(iter(curves.items())), parameter, chosen, interval)

    def paint(figure: Figure, style: Style) -> None:
        axes = figure.subplots()
        for i, (what, (edges, values)) in enumerate(steps.items()):
            mark = style.mark(i)
            colour, width = (style.ink, 2.0) if i == 0 else (mark.colour, 1.4)
            x, y = thinned(edges, values)
            (line,) = axes.plot(np.repeat(x, 2)[1:-1], np.repeat(y, 2), clip_on=False)
            # The line has a corner a step; the marker stands at the chosen value only, and in the legend.
            (shown,) = axes.plot([], [], marker=mark.marker, label=plain(what))
            for each in (line, shown):
                each.set(color=colour, linestyle=mark.line, linewidth=width, zorder=4 - i / 10)
            axes.plot([chosen], curves[what](chosen), mark.marker, color=colour, markersize=6, zorder=6, clip_on=False)
        axes.axvline(chosen, color=style.ink, linewidth=0.9, linestyle=(0, (2, 2)), zorder=3)
        if shaded is not None:
            axes.axvspan(max(low, shaded[0]), min(high, shaded[1]), color=style.bars, linewidth=0.8, zorder=0)
        for end in SEARCHED:
            if low < end < high:
                axes.axvline(end, color=style.faint, linewidth=0.8, linestyle=":", zorder=1)
        axes.set_title(words, fontsize=9)
        axes.set(xlim=(low, high), ylim=within(*axes.get_ylim()))
        axes.set(xlabel=f"{parameter} of {called or plain(method)}", ylabel=f"mean recall on {plain(split)}")
        as_percent(axes.yaxis)
        legend_above(figure, [plain(what) for what in curves], 7.2)

    return Drawing(
        name,
        f"Every {parameter} of {method}",
        f"Mean recall over all classes and over each shot group on {split} for every value of {parameter}: exact, "
        "each step is a row that becomes right or wrong. Shaded: the stretch that the value was chosen from, within "
        f"the range that is searched, {_written(SEARCHED[0])} to {_written(SEARCHED[1])} (dotted where there is more).",
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


def _reach(chosen: float, interval: Ends | None) -> Stretch:
    """From where to where the curve is drawn: the range searched, the chosen value, and the stretch it is from."""
    low, high = min(SEARCHED[0], 1.1 * chosen), max(SEARCHED[1], 1.1 * chosen)
    start, end = (None, None) if interval is None else interval
    if start is not None and start < low:
        low = max(1.05 * start, low - FARTHEST)
    if end is not None and end > high:
        high = min(1.05 * end, high + FARTHEST)
    return low, high


def _chosen(
    what: str, curve: StepCurve, parameter: str, chosen: float, interval: Ends | None
) -> tuple[Stretch | None, str]:
    """The stretch to be shaded, None where there is none; and in words how the value was chosen.

    Where the value is not the middle within the range that is searched, another range was: the stretch is shown whole.
    what, curve: the first that is drawn; it counts as far as it is drawn.
    """
    words = f"chosen: {parameter} = {_written(chosen)}"
    if interval is None:
        return None, words
    start, end = -math.inf if interval[0] is None else interval[0], math.inf if interval[1] is None else interval[1]
    low, high = max(start, SEARCHED[0]), min(end, SEARCHED[1])
    if not (low < high and math.isclose(chosen, (low + high) / 2, rel_tol=SAME, abs_tol=SAME)):
        words += f", from the shaded stretch {_written(start)} to {_written(end)}"
        if low >= high:
            words += ",\nwhich lies beyond the range that is searched"
        return (start, end), words
    words += f", the middle of {_written(low)} to {_written(high)}"
    if not any(max(a, SEARCHED[0]) < min(b, SEARCHED[1]) for a, b in curve.best(_reach(chosen, interval))):
        words += f";\n{what} is best beyond the range that is searched"
    elif (low, high) != (start, end):
        words += f";\nthe stretch, {_written(start)} to {_written(end)}, reaches beyond the range that is searched"
    return (low, high), words


def _written(value: float) -> str:
    """A number of three digits, infinity as such."""
    return f"{value:.3g}".replace("inf", "∞").replace("-", "−")
