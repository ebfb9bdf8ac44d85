"""The decision cones of three classes, before and after: a plane cut through the feature space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from numpy.typing import NDArray

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.report.drawing import Drawing
from rebalance.report.figures.plane import Plane, logits, only, sample
from rebalance.report.style import Style, class_labels, head_labels

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
GRID = 161  # places a side
COLOURS = (2, 1, 3)  # places in the palette: blue, vermilion, green, of clearly different lightness
HATCHES = ("", "//", "\\\\")


def cones(
    heads: Mapping[str, LinearHead],
    features: Features,
    labels: Labels,
    classes: Sequence[int],
    *,
    class_names: Sequence[str] | None = None,
    called: Mapping[str, str] | None = None,
) -> Drawing:
    """Which of three classes each head decides for, on the plane through the classes' mean features.

    heads: before and after, any type. features, labels: (N, D) and (N,), the rows to be shown. classes: three ids.
    class_names: K names. called: what the heads are called in the picture. ValueError when a class has no row or the
    means span no plane.
    """
    rows = sample(features, labels, classes)
    plane = Plane.through(rows.means, classes)
    places, means = plane.project(rows.rows), plane.project(rows.means)
    x, y = _grid(np.concatenate([places, means]))
    grid = np.stack([each.ravel() for each in np.meshgrid(x, y)], axis=1)
    three = {name: only(head, classes) for name, head in heads.items()}
    scores = {name: logits(head, plane.points(grid)) for name, head in three.items()}
    decided, on_plane = _decisions(three, rows.rows), _decisions(three, plane.points(places))
    agree = min(float(np.mean(decided[name] == on_plane[name])) for name in three)
    num_classes = next(iter(heads.values())).num_classes
    named = [class_labels(class_names, num_classes)[k] for k in classes]
    titles = called or head_labels(heads)

    def paint(figure: Figure, style: Style) -> None:
        panels = figure.subplots(1, len(scores), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (name, each) in zip(panels, scores.items(), strict=True):
            draw_cones(axes, x, y, each.reshape(len(y), len(x), 3), style)
            _draw_rows(axes, places, rows.own, means, style)
            axes.set_title(titles[name])
        marks = [style.mark(place) for place in COLOURS]
        shown = [
            Line2D([], [], color=mark.colour, marker=mark.marker, linestyle="none", label=text)
            for mark, text in zip(marks, named, strict=True)
        ]
        figure.legend(handles=shown, loc="outside upper center", ncols=3 if sum(map(len, named)) < 60 else 1)

    return Drawing(
        "cones",
        "Decision cones",
        f"The plane through the mean features of {', '.join(named[:2])} and {named[2]}: which of the three a head "
        "decides for there, and rows of the three (up to 300 of each) projected on it; large markers are the means. "
        f"Off the plane a decision may differ: {100 * agree:.0f} % of these rows lie in the region that they are "
        "decided for.",
        ["what", "x", "y", "class", "name", *(f"decision of {name}" for name in heads)],
        _table(
            classes,
            class_names,
            [
                ("place", grid, None, {name: each.argmax(axis=1) for name, each in scores.items()}),
                ("row", places, rows.own, decided),
                ("mean", means, np.arange(3), _decisions(three, rows.means)),
            ],
        ),
        paint,
        (7.6, 0.9 + 3.6 * (y[-1] - y[0]) / (x[-1] - x[0])),
    )


def _decisions(heads: Mapping[str, LinearHead], rows: Floats) -> dict[str, Ids]:
    return {name: logits(head, rows).argmax(axis=1) for name, head in heads.items()}


def _grid(places: Floats) -> tuple[Floats, Floats]:
    """Coordinates (G,) across and up that cover the places (N, 2): a square, or up to half as high as wide."""
    low, high = places.min(axis=0), places.max(axis=0)
    across, up = 0.54 * (high - low)
    across = max(across, up)
    up = max(up, across / 2)
    x, y = (low + high) / 2
    return np.linspace(x - across, x + across, GRID), np.linspace(y - up, y + up, GRID)


def draw_cones(axes: Axes, x: Floats, y: Floats, scores: Floats, style: Style) -> None:
    """Fill the plane by decision. x, y: (G,). scores: (G, G, 3) by y, x and class."""
    best = np.sort(scores, axis=2)
    for i, (place, hatch) in enumerate(zip(COLOURS, HATCHES, strict=True)):
        own = scores[:, :, i]
        # How far ahead of the others the class is: where it is zero lies the border, between the places of the grid.
        lead = own - np.where(own == best[:, :, 2], best[:, :, 1], best[:, :, 2])
        if (lead > 0).any():
            filled = axes.contourf(x, y, lead, levels=[0.0, 2 * lead.max()])
            colour = style.series[place]
            for path in filled.get_paths():  # as patches: an SVG has no hatches in contours
                axes.add_patch(PathPatch(path, facecolor=to_rgba(colour, 0.22), linewidth=0))
                axes.add_patch(PathPatch(path, fill=False, edgecolor=to_rgba(colour, 0.4), hatch=hatch, linewidth=0))
            filled.remove()
    axes.set(aspect="equal", xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)


def _draw_rows(axes: Axes, places: Floats, own: Ids, means: Floats, style: Style) -> None:
    edge = "#ffffff" if style.page != "none" else "#111111"
    for i, place in enumerate(COLOURS):
        mark = style.mark(place)
        axes.plot(*places[own == i].T, mark.marker, color=mark.colour, markersize=2.6, markeredgewidth=0, alpha=0.8)
    for i, place in enumerate(COLOURS):
        mark = style.mark(place)
        axes.plot(*means[i], mark.marker, color=mark.colour, markersize=10, markeredgecolor=edge, zorder=5)


def _table(
    classes: Sequence[int],
    class_names: Sequence[str] | None,
    parts: list[tuple[str, Floats, Ids | None, Mapping[str, Ids]]],
) -> list[list[object]]:
    """The rows of the table: what, place, class and name where it has one, and every head's decision."""
    names = ["" if class_names is None else class_names[k] for k in classes]
    return [
        [
            *(what, float(places[row, 0]), float(places[row, 1])),
            *((None, "") if own is None else (classes[own[row]], names[own[row]])),
            *(classes[each[row]] for each in decided.values()),
        ]
        for what, places, own, decided in parts
        for row in range(len(places))
    ]
