"""What several figures have in common: percentages, counts and class names along an axis, and the legend above."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from rebalance.report.style import FONT

POINTS = 72.0  # an inch
WRAPPED = 40.0  # names are broken into lines where each has more room than this, typographic points
MANY_POINTS = 2000  # more than this are drawn as pixels within an SVG


def as_percent(axis: Axis) -> None:
    """Shares along this axis are written as percentages."""
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))


def within(low: float, high: float) -> tuple[float, float]:
    """Limits of an axis of shares: nothing is below 0 % or above 100 %."""
    return max(0.0, low), min(1.0, high)


def log_counts(axes: Axes, counts: Sequence[float]) -> None:
    """A logarithmic x axis of training rows, written as whole numbers: 1, 2, 5 where there is room, else powers of 10.

    counts: all of them, positive.
    """
    low, high = min(counts), max(counts)
    axes.set_xscale("log")
    room = 1.4 if high > 2 * low else 4.0
    axes.set_xlim(low / room, high * room)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 50 else (1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rows, _: f"{rows:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def name_classes(axes: Axes, labels: Sequence[str], width: float) -> None:
    """The classes' names under the axis, at 0, 1, 2 …: level where they fit, on several lines too, else slanted or
    upright.

    labels: their names, short. width: of the axes, inches.
    """
    size, room = 8.0, width * POINTS / max(1, len(labels))
    level = [_wrapped(text, size, 0.92 * room) for text in labels] if room > WRAPPED else [None]
    fitting = [text for text in level if text is not None]
    if len(fitting) == len(labels):
        axes.set_xticks(range(len(labels)), fitting, fontsize=size)
    elif room > 2 * size:
        axes.set_xticks(range(len(labels)), labels, fontsize=size, rotation=40, ha="right", rotation_mode="anchor")
    elif max(text_width(text, size) for text in labels) < 0.8 * room:
        axes.set_xticks(range(len(labels)), labels, fontsize=size)
    else:
        axes.set_xticks(range(len(labels)), labels, fontsize=min(size, 0.8 * room), rotation=90)
    axes.xaxis.set_minor_locator(NullLocator())


def _wrapped(text: str, size: float, room: float) -> str | None:
    """The text on up to three lines no wider than the room, None where it takes more."""
    letters = max(1, int(len(text) * room / max(text_width(text, size), 1.0)))
    lines = textwrap.wrap(text, letters, break_long_words=True) or [""]
    return "\n".join(lines) if len(lines) <= 3 and all(text_width(line, size) <= room for line in lines) else None


def text_width(text: str, size: float) -> float:
    """How wide a text is, typographic points. size: of the font, points."""
    if not text.strip():
        return 0.0
    return float(TextPath((0, 0), text, size=size, prop=FontProperties(family=FONT)).get_extents().width)


def legend_above(figure: Figure | SubFigure, names: Sequence[str], width: float) -> None:
    """The legend of everything labelled, above the axes, in as many columns as its longest name lets fit.

    names: those in it. width: inches.
    """
    if names:
        each = max(text_width(name, 9) for name in names) + 45
        columns = max(1, min(len(names), int(width * POINTS / each)))
        figure.legend(loc="outside upper center", ncols=columns, columnspacing=1.4)
