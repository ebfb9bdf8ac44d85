"""Names beside points overlap nothing."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rebalance.report.figures.placing import MARKER, name_points
from rebalance.report.style import LIGHT

RNG = np.random.default_rng(0)


def named(points: list[tuple[float, float]], lines: Any = (), letters: int = 18) -> tuple[Figure, Any]:
    figure = Figure(figsize=(7.2, 5), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    names = [f"{'a head of some name'[:letters]} {i}" for i in range(len(points))]
    return figure, name_points(figure, axes, points, names, lines, LIGHT)


def boxes(figure: Figure, notes: Any) -> Any:
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    return [note.get_window_extent(renderer) for note in notes]


@pytest.mark.parametrize(
    "points",
    [
        [(0.5, 0.5)] * 12,
        [(0.02, 0.98)] * 12,
        [(0.99, 0.01)] * 12,
        RNG.normal(0.5, 0.03, (12, 2)).tolist(),
        RNG.uniform(0, 1, (12, 2)).tolist(),
        [(0.5 + i / 1000, 0.5 - i / 1000) for i in range(12)],
    ],
    ids=["one place", "corner", "other corner", "cluster", "spread", "line"],
)
def test_twelve_names_overlap_neither_each_other_nor_points_nor_the_edge(points: Any) -> None:
    figure, notes = named(points)
    found = boxes(figure, notes)
    assert len(found) == 12
    for one, other in combinations(found, 2):
        assert not one.overlaps(other)
    axes = figure.axes[0]
    half = MARKER * figure.dpi / 72
    inside = axes.get_window_extent()
    for box in found:
        for x, y in axes.transData.transform(points):
            assert not (box.x0 < x + half and x - half < box.x1 and box.y0 < y + half and y - half < box.y1)
        assert inside.x0 - 1 <= box.x0 <= box.x1 <= inside.x1 + 1
        assert inside.y0 - 1 <= box.y0 <= box.y1 <= inside.y1 + 1


def test_a_name_alone_is_near_and_off_its_cross() -> None:
    cross = [((0.3, 0.5), (0.7, 0.5)), ((0.5, 0.3), (0.5, 0.7))]
    figure, notes = named([(0.5, 0.5)], cross, letters=6)
    (box,) = boxes(figure, notes)
    x, y = figure.axes[0].transData.transform((0.5, 0.5))
    assert min(abs(box.y0 - y), abs(box.y1 - y)) < 25
    assert min(abs(box.x0 - x), abs(box.x1 - x)) < 25
    assert not (box.y0 < y < box.y1)
    assert not (box.x0 < x < box.x1)
