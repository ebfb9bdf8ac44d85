"""Names beside points such that they overlap neither each other nor the points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from rebalance.report.style import Style

Floats = NDArray[np.float64]

DISTANCES = (6.0, 10.0, 16.0, 24.0, 34.0, 46.0, 60.0, 76.0)  # typographic points
ACROSS = 40  # places across the axes, where none about the point is free
ANGLES = (22, 0, 338, 158, 180, 202, 45, 135, 225, 315, 90, 270, 68, 112, 248, 292)  # degrees; beside is read best
LEADING = 14.0  # farther away than this a line leads to the point
MARKER = 4.0  # half a marker, typographic points
AIR = 1.5  # about every name, typographic points
# What a place costs: a pixel that is another's, a pixel that a line runs through, a typographic point of distance.
TAKEN, CROSSED, FAR = 100.0, 0.5, 1.0


def name_points(
    figure: Figure,
    axes: Axes,
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    lines: Sequence[tuple[tuple[float, float], tuple[float, float]]],
    style: Style,
) -> list[Annotation]:
    """Names written beside the points, each at the nearest place that is free; the layout is final from then on.

    points: in the units of the axes, whose limits are set. names: one a point. lines: level or upright, from and to, in
    the same units; names keep off them where that is near. A name that had to go far, or
    stands nearer to another point, has a line to its point.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    dot = figure.dpi / 72
    inside = axes.get_window_extent(renderer)
    centres = axes.transData.transform(points)
    half = MARKER * dot
    taken = [Bbox.from_extents(x - half, y - half, x + half, y + half) for x, y in centres]
    crossed = [Bbox(axes.transData.transform(ends)).padded(dot / 2) for ends in lines]
    written = []
    for i, (point, centre, name) in enumerate(zip(points, centres, names, strict=True)):
        note = axes.annotate(name, point, (0, 0), textcoords="offset points", ha="center", va="center", fontsize=8)
        note.set_zorder(8)
        box = note.get_window_extent(renderer).padded(AIR * dot)
        far, box = _free(centre, box, dot, inside, taken, crossed)
        taken.append(box)
        x, y = (box.x0 + box.x1) / 2 - centre[0], (box.y0 + box.y1) / 2 - centre[1]
        note.set_position((x / dot, y / dot))
        if far > LEADING or _is_nearer(box, centres, i):
            end = (min(max(centre[0], box.x0), box.x1) - centre[0], min(max(centre[1], box.y0), box.y1) - centre[1])
            arrow = {"arrowstyle": "-", "color": style.faint, "linewidth": 0.6, "shrinkA": 0, "shrinkB": MARKER}
            axes.annotate("", point, (end[0] / dot, end[1] / dot), textcoords="offset points", arrowprops=arrow)
        written.append(note)
    return written


def _free(
    centre: Floats, text: Bbox, dot: float, inside: Bbox, taken: Sequence[Bbox], crossed: Sequence[Bbox]
) -> tuple[float, Bbox]:
    """Distance (typographic points) and box (pixels) of the place for a text that costs least.

    Tried are places around the point, the nearest first, and then all over the axes.
    """
    angles = np.deg2rad(ANGLES)
    half = np.array([text.width, text.height]) / 2
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    around = [centre + directions * (far * dot + half) for far in DISTANCES]
    across = np.linspace(inside.x0 + half[0], inside.x1 - half[0], ACROSS)
    up = np.arange(inside.y0 + half[1], inside.y1 - half[1], text.height)
    middles = np.concatenate([*around, np.stack([each.ravel() for each in np.meshgrid(across, up)], axis=1)])
    low, high = middles - half, middles + half
    outside = np.maximum(np.abs(middles - centre) - half, 0)
    far = np.hypot(*outside.T) / dot
    hidden = text.width * text.height - _common(low, high, inside)
    hidden += sum((_common(low, high, other) for other in taken), np.zeros(len(middles)))
    through = sum((_common(low, high, line) for line in crossed), np.zeros(len(middles)))
    best = int(np.argmin(TAKEN * hidden.round(6) + CROSSED * through + FAR * far))
    return float(far[best]), Bbox([low[best], high[best]])


def _is_nearer(box: Bbox, centres: Floats, own: int) -> bool:
    """Whether the box (pixels) is nearer to another of the points (P, 2) than to its own."""
    far = np.hypot(*np.maximum(np.maximum(box.min - centres, centres - box.max), 0).T)
    return bool((far < far[own]).any())


def _common(low: Floats, high: Floats, other: Bbox) -> Floats:
    """The area (N,) that boxes (N, 2), (N, 2) share with another."""
    sides = np.minimum(high, other.max) - np.maximum(low, other.min)
    return np.asarray(np.maximum(sides, 0).prod(axis=1))
