"""Recall per class, the classes sorted by training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from rebalance.report.drawing import Drawing
from rebalance.report.figures.axes import MANY_POINTS, as_percent, legend_above, name_classes
from rebalance.report.style import Style, class_labels, head_labels

Floats = NDArray[np.float64]
NAMED = 30  # more classes than this are not named under the axis
LONG = 12  # of no more classes than this the names may be long
ROOM = 1.14  # how high the axis reaches: the names of the groups stand above recalls of 100 %
SINGLE = 100  # more classes than this are joined by a running mean instead of a line
POINTS = 1000  # of more classes than this the mean alone is shown: single ones would be bands, not points


def recall(
    recalls: Mapping[str, ArrayLike],
    counts: ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    groups: Mapping[str, NDArray[np.bool_]] | None = None,
    called: Mapping[str, str] | None = None,
) -> Drawing:
    """Recall of every class under each head, with the training rows behind and the shot groups marked.

    recalls: (K,) recall by head, the first the one to compare with; NaN where a class has no row. counts: (K,)
    training rows. class_names: K names. groups: masks (K,) of many, medium and few. called: what the heads are called
    in the picture.
    """
    rows = np.asarray(counts)
    order = np.argsort(-rows, kind="stable")
    values = {name: np.asarray(each, dtype=np.float64) for name, each in recalls.items()}
    window = window_of(len(rows))
    means = {} if window == 1 else {name: running_mean(each[order], window) for name, each in values.items()}
    heads = called or head_labels(recalls)
    group = {k: name for name, mask in (groups or {}).items() for k in np.flatnonzero(mask).tolist()}

    def paint(figure: Figure, style: Style) -> None:
        axes = figure.subplots()
        draw_recall(axes, values, rows, style, class_names=class_names, groups=groups, called=heads, width=5.8)
        legend_above(figure, [heads[name] for name in values], 7.2)

    points = ", the points single classes" if len(rows) <= POINTS else ""
    smooth = f" The lines are means over {window} neighbouring classes{points}." if means else ""
    return Drawing(
        "recall",
        "Recall per class",
        f"Recall of every class, most training rows first; the grey area is the training rows (right axis).{smooth}",
        [
            *("class", "name", "training rows", "group"),
            *(f"recall of {name}" for name in values),
            *(f"recall of {name}, mean of {window} classes" for name in means),
        ],
        [
            [
                *(k, "" if class_names is None else class_names[k], int(rows[k]), group.get(k, "")),
                *(each[k] for each in values.values()),
                *(each[place] for each in means.values()),
            ]
            for place, k in enumerate(order.tolist())
        ],
        paint,
    )


def window_of(num_classes: int) -> int:
    """How many neighbouring classes the lines average over: 1 where every class can be seen, else an odd number."""
    return 1 if num_classes <= SINGLE else 2 * (num_classes // 50) + 1


def running_mean(values: Floats, window: int) -> Floats:
    """The mean of up to `window` values around each (K,), NaN left out; NaN where all are."""
    known = np.isfinite(values)
    sums, present = (np.concatenate([[0.0], np.cumsum(each)]) for each in (np.where(known, values, 0.0), known))
    place = np.arange(len(values))
    low, high = np.maximum(place - window // 2, 0), np.minimum(place + window // 2 + 1, len(values))
    found = present[high] - present[low]
    return np.where(found > 0, (sums[high] - sums[low]) / np.maximum(found, 1), np.nan)


def draw_recall(
    axes: Axes,
    recalls: Mapping[str, Floats],
    counts: NDArray[np.int64],
    style: Style,
    *,
    class_names: Sequence[str] | None = None,
    groups: Mapping[str, NDArray[np.bool_]] | None = None,
    called: Mapping[str, str],
    width: float,
) -> None:
    """Draw it. The parameters are those of `recall`; width: of the axes, about, inches."""
    order = np.argsort(-counts, kind="stable")
    place = np.arange(len(order))
    window = window_of(len(order))
    for i, (name, values) in enumerate(recalls.items()):
        mark, single = style.mark(i), values[order]
        if window == 1:
            (line,) = axes.plot(place, single, marker=mark.marker, markersize=5 if len(order) <= NAMED else 3)
        else:
            if len(order) <= POINTS:
                axes.plot(place, single, mark.marker, color=mark.colour, markersize=1.6, alpha=0.35)
            # A few markers on the line as well: they are what the legend shows, and what print keeps.
            every = max(1, len(order) // 12)
            where = (i * every // len(recalls), every)
            mean = running_mean(single, window)
            (line,) = axes.plot(place, mean, linewidth=2, marker=mark.marker, markevery=where, markersize=5)
        line.set(color=mark.colour, linestyle=mark.line, label=called[name], zorder=3 + i)
    axes.set(ylabel="recall", ylim=(-0.03, ROOM if groups else 1.03), xlim=(-0.6, len(order) - 0.4))
    as_percent(axes.yaxis)
    axes.set_yticks(np.linspace(0, 1, 6))
    _draw_counts(axes, counts[order], style)
    if len(order) <= NAMED and class_names is not None:
        shown = class_labels(class_names, len(order), 24 if len(order) <= LONG else 18)
        name_classes(axes, [shown[k] for k in order], width)
        axes.set_xlabel("class, most training rows first")
    elif len(order) <= NAMED:
        name_classes(axes, [str(k) for k in order], width)
        axes.set_xlabel("class id, most training rows first")
    else:
        axes.set_xlabel("classes, most training rows first")
    _draw_groups(axes, order, groups or {}, style, width)


def _draw_counts(axes: Axes, counts: NDArray[np.int64], style: Style) -> None:
    """The training rows as steps behind, in one artist: thousands of bars would make a file of megabytes."""
    behind = axes.twinx()
    starts = np.flatnonzero(np.diff(counts, prepend=counts[0] + 1))
    edges = np.append(starts, len(counts)) - 0.5
    steps = behind.stairs(counts[starts], edges, fill=True, color=style.bars, linewidth=0)
    steps.set_rasterized(len(starts) > MANY_POINTS)
    behind.set_ylabel("training rows")
    behind.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    behind.yaxis.set_major_formatter(FuncFormatter(lambda rows, _: f"{rows:,g}"))
    most = max(1, int(counts.max()))
    behind.set_ylim(*(most * end for end in axes.get_ylim()))  # so that both axes have their zero at one height
    behind.spines["right"].set_visible(True)
    axes.set_zorder(behind.get_zorder() + 1)


def _draw_groups(
    axes: Axes, order: NDArray[np.int64], groups: Mapping[str, NDArray[np.bool_]], style: Style, width: float
) -> None:
    """Lines between the shot groups, and their names where there is room for them."""
    for name, mask in groups.items():
        places = np.flatnonzero(mask[order])
        if not len(places):
            continue
        low, high = places[0] - 0.5, places[-1] + 0.5
        if low > 0:
            axes.axvline(low, color=style.faint, linewidth=0.8, linestyle=":", zorder=2)
        if (high - low) / len(order) * width > 0.5:  # inches
            axes.text((low + high) / 2, ROOM - 0.005, name, color=style.ink, fontsize=8, ha="center", va="top")
