"""What frequent classes pay for what rare classes gain, over all heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rebalance.report.drawing import Drawing
from rebalance.report.figures.axes import as_percent, within
from rebalance.report.figures.placing import name_points
from rebalance.report.style import Style, head_labels

Interval = tuple[float, float]
NAMED = 12  # more heads than this have numbers, and their names beside the picture


@dataclass(frozen=True)
class Standing:
    """Where one head stands: its mean recall on many and few, their 95 % intervals (None: not known), and balanced."""

    many: float
    few: float
    many_interval: Interval | None = None
    few_interval: Interval | None = None
    balanced: float | None = None


def trade_off(standings: Mapping[str, Standing], *, called: Mapping[str, str] | None = None) -> Drawing:
    """Mean recall of the classes many against that of the classes few, a named point a head, crosses for intervals.

    standings: by head. called: what the heads are called in the picture.
    """
    shown = called or head_labels(standings)
    heads = [shown[name] for name in standings]
    numbered = len(heads) > NAMED

    def paint(figure: Figure, style: Style) -> None:
        axes = figure.subplots()
        crosses = []
        for i, each in enumerate(standings.values()):
            mark = style.mark(i)
            few, many = each.few_interval or (each.few,) * 2, each.many_interval or (each.many,) * 2
            for line in (((few[0], each.many), (few[1], each.many)), ((each.few, many[0]), (each.few, many[1]))):
                crosses.append(line)
                axes.plot(
                    *zip(*line, strict=True), color=mark.colour, linewidth=0.9, alpha=0.3 if numbered else 0.6, zorder=2
                )
            axes.plot([each.few], [each.many], mark.marker, color=mark.colour, markersize=7, zorder=4, clip_on=False)
        axes.set_xlim(*_limits([(each.few, each.few_interval) for each in standings.values()]))
        axes.set_ylim(*_limits([(each.many, each.many_interval) for each in standings.values()]))
        axes.set(xlabel="recall of few (mean over classes)", ylabel="recall of many (mean over classes)")
        as_percent(axes.xaxis)
        as_percent(axes.yaxis)
        points = [(each.few, each.many) for each in standings.values()]
        names = [str(i + 1) for i in range(len(heads))] if numbered else heads
        if numbered:
            _name_beside(figure, heads, style)
        name_points(figure, axes, points, names, crosses, style)

    known = any(each.many_interval for each in standings.values())
    return Drawing(
        "trade_off",
        "Many against few",
        "Every head's mean recall over the classes with few training rows and over those with many; up and to the "
        f"right is better.{' Crosses are 95 % intervals.' if known else ''}",
        ["head", "few", "few from", "few to", "many", "many from", "many to", "balanced"],
        [
            [
                *(name, each.few, *(each.few_interval or (None, None))),
                *(each.many, *(each.many_interval or (None, None)), each.balanced),
            ]
            for name, each in standings.items()
        ],
        paint,
        (9.4, max(5.0, 0.6 + 0.17 * len(heads))) if numbered else (7.2, 5.0),
    )


def _name_beside(figure: Figure, heads: Sequence[str], style: Style) -> None:
    """The numbers of the points, their markers and what they are called, at the right of the picture."""
    handles = []
    for i, text in enumerate(heads):
        mark = style.mark(i)
        handles.append(
            Line2D([], [], color=mark.colour, marker=mark.marker, linestyle="none", label=f"{i + 1}  {text.strip()}")
        )
    figure.legend(handles=handles, loc="outside right upper", fontsize=8, labelspacing=0.35, handletextpad=0.3)


def _limits(values: list[tuple[float, Interval | None]]) -> Interval:
    """The range of values and intervals, with room for names about it as far as there are such values."""
    ends = np.array([end for value, interval in values for end in (value, *(interval or ()))])
    low, high = float(ends.min()), float(ends.max())
    room = max(0.15 * (high - low), 0.01)
    return within(low - room, high + room)
