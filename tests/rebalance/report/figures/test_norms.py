"""Weight norms against training rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from rebalance.report.drawing import Drawing
from rebalance.report.figures import norms
from rebalance.report.figures.norms import CENTRES, correlation, running_median, spearman

COUNTS = np.array([5, 200, 40, 0])
NORMS = {"joint": [0.5, 2.0, 1.0, 0.4], "crt": [1.0, 1.1, 0.9, 1.0]}


def test_norms_are_relative_and_their_correlation_is_said(painted: Callable[[Drawing], Figure]) -> None:
    figure = painted(norms(NORMS, COUNTS))
    axes = figure.axes[0]
    points = np.asarray(axes.collections[0].get_offsets())
    np.testing.assert_allclose(points[:, 1], np.array(NORMS["joint"]) / np.mean(NORMS["joint"]))
    np.testing.assert_allclose(points[:, 0], [5, 200, 40, 0.5])  # a class without rows has a place on the axis
    rho = spearmanr(NORMS["joint"], COUNTS).statistic
    assert axes.get_title() == f"joint\nρ = {rho:+.2f}"
    assert axes.get_xscale() == "log"


def test_the_table_holds_what_is_drawn() -> None:
    drawing = norms(NORMS, COUNTS, class_names=["a", "b", "c", "d"])
    assert list(drawing.columns) == ["class", "name", "training rows", "norm of joint / mean", "norm of crt / mean"]
    np.testing.assert_allclose([row[3] for row in drawing.rows], np.array(NORMS["joint"]) / np.mean(NORMS["joint"]))
    assert list(drawing.rows[1][:3]) == [1, "b", 200]


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 5, 12])
def test_every_head_has_a_panel_with_numbers_below(heads: int, painted: Callable[[Drawing], Figure]) -> None:
    figure = painted(norms({f"head{i}": NORMS["joint"] for i in range(heads)}, COUNTS))
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title().split("\n")[0] for axes in shown] == [f"head{i}" for i in range(heads)]
    columns = {round(axes.get_position().x0, 2) for axes in shown}
    numbered = [axes for axes in shown if any(label.get_visible() for label in axes.get_xticklabels())]
    assert len(numbered) == len(columns)


@given(
    st.integers(3, 20).flatmap(
        lambda n: st.tuples(
            arrays(np.float64, n, elements=st.integers(1, 1000).map(lambda i: i / 1000)),
            arrays(np.int64, n, elements=st.integers(0, 30)),
        )
    )
)
def test_spearman_is_scipys(drawn: Any) -> None:
    a, b = drawn
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert math.isnan(spearman(a, b))
    else:
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


def test_norms_that_differ_by_rounding_have_no_order() -> None:
    assert math.isnan(spearman(1 + 1e-7 * np.arange(10), np.arange(10)))
    assert correlation(np.ones(4), COUNTS) == "no correlation"


@pytest.mark.parametrize("counts", [COUNTS, np.zeros(4, np.int64), np.full(4, 7)])
def test_a_head_without_weights_can_be_drawn(counts: Any, painted: Callable[[Drawing], Figure]) -> None:
    figure = painted(norms({"zeros": np.zeros(4)}, counts))
    assert np.isfinite(np.asarray(figure.axes[0].collections[0].get_offsets())).all()


def test_many_points_are_a_small_picture() -> None:
    rng = np.random.default_rng(0)
    heads = {f"head{i}": rng.random(5000) for i in range(2)}
    assert len(norms(heads, rng.integers(0, 1000, 5000)).svg()) < 300_000


@given(
    arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 50)), st.integers(0, 5).map(lambda half: 2 * half + 1)
)
def test_the_running_median_is_that_of_the_nearest_classes(counts: Any, window: int) -> None:
    values = np.random.default_rng(0).random(len(counts))
    found = running_median(values, counts, window)
    assert list(found) == sorted({*counts.tolist()})
    for count, median in found.items():
        own = values[counts == count]
        if len(own) >= min(window, len(counts)):
            assert median == np.median(own)
        assert values.min() <= median <= values.max()


def test_a_rare_count_is_joined_by_its_neighbours() -> None:
    found = running_median([9.0, 1.0, 5.0, 2.0, 3.0], [50, 10, 40, 20, 30], 3)
    assert found == {10: 1.5, 20: 2.0, 30: 3.0, 40: 5.0, 50: 7.0}


def test_thousands_of_classes_have_a_line(painted: Callable[[Drawing], Figure]) -> None:
    rng = np.random.default_rng(0)
    counts = rng.permutation(3000)
    drawing = norms({"joint": 1 + counts / 3000 + rng.normal(0, 0.01, 3000)}, counts)
    line = painted(drawing).axes[0].get_lines()[1]  # the first is the mean
    x, y = np.asarray(line.get_xydata()).T
    assert len(x) == CENTRES
    np.testing.assert_allclose(y[5:-5], (1 + x / 3000)[5:-5] / 1.5, atol=0.01)
    assert "median of 121 classes" in drawing.caption
    assert drawing.columns[-1] == "median about joint"
    assert sum(row[-1] is not None for row in drawing.rows) == CENTRES
