"""Axes read well: names do not overlap, counts are whole numbers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib import style as matplotlib_style
from matplotlib.figure import Figure

from rebalance.report.figures.axes import as_percent, legend_above, log_counts, name_classes, text_width
from rebalance.report.style import LIGHT


@pytest.fixture(autouse=True)
def _style() -> Any:
    with matplotlib_style.context(["default", LIGHT.settings()]):
        yield


def corners(text: Any) -> Any:
    """The corners of a text as it stands, in pixels."""
    angle = text.get_rotation()
    text.set_rotation(0)
    box = text.get_window_extent()
    text.set_rotation(angle)
    return box.width, box.height, np.deg2rad(angle)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat", "dog"], 0),
        (["x" * 23 + "…"] * 4, 0),
        (["W" * 24] * 4, 0),
        (["a class of some length"] * 12, 40),
        (["a class of some length"] * 30, 90),
        ([str(k) for k in range(30)], 0),
    ],
)
def test_names_do_not_overlap(names: list[str], expected: float) -> None:
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set_xlim(-0.6, len(names) - 0.4)
    name_classes(axes, names, 6.3)
    figure.draw_without_rendering()
    labels = axes.get_xticklabels()
    assert [label.get_rotation() for label in labels] == [expected] * len(names)
    spacing = np.diff(axes.transData.transform([(0, 0), (1, 0)])[:, 0])[0]
    for first, second in pairwise(labels):
        (width, height, angle), (other, _, _) = corners(first), corners(second)
        if expected == 0:
            assert (width + other) / 2 < spacing
        else:
            assert height < spacing * np.sin(angle)  # parallel lines of text, so far apart


def test_a_text_is_as_wide_as_it_is_drawn() -> None:
    figure = Figure(dpi=72)
    text = figure.text(0.5, 0.5, "Some words, WWW", fontsize=8)
    assert text_width("Some words, WWW", 8) == pytest.approx(text.get_window_extent().width, rel=0.08)
    assert text_width(" ", 8) == 0


@pytest.mark.parametrize(
    ("counts", "shown"),
    [([3, 20, 90], {"5", "10", "20", "50", "100"}), ([0.5, 5000], {"1", "10", "100", "1,000"}), ([4, 4], {"2", "5"})],
)
def test_counts_are_written_as_whole_numbers(counts: list[float], shown: set[str]) -> None:
    figure = Figure()
    axes = figure.subplots()
    log_counts(axes, counts)
    figure.draw_without_rendering()
    low, high = axes.get_xlim()
    texts = {
        label.get_text()
        for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        if low <= place <= high
    }
    assert shown <= texts
    assert all(axes.xaxis.get_minor_formatter()(place) == "" for place in (2, 30))


def test_shares_are_percentages() -> None:
    axes = Figure().subplots()
    as_percent(axes.yaxis)
    assert axes.yaxis.get_major_formatter()(0.125) == "12.5 %"


def test_a_legend_of_long_names_stays_within_the_figure() -> None:
    names = [f"{'a rather long name of a head'[:28]} {i}" for i in range(12)]
    figure = Figure(figsize=(7.2, 5), layout="constrained")
    axes = figure.subplots()
    for name in names:
        axes.plot([0, 1], label=name)
    legend_above(figure, names, 7.2)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names
