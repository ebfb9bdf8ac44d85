"""Reliability diagrams show the bins they are given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from rebalance.metrics import expected_calibration_error
from rebalance.metrics import reliability as bins_of
from rebalance.metrics.calibration import Reliability
from rebalance.report.drawing import Drawing
from rebalance.report.figures import reliability
from rebalance.report.figures.reliability import error_of

RNG = np.random.default_rng(0)
CONFIDENCE = RNG.uniform(0.3, 1, 400)
CORRECT = RNG.random(400) < CONFIDENCE**2
BINS = bins_of(CONFIDENCE, CORRECT)
ROWS = {"all rows": 400, "few": 400}


def test_the_error_is_that_of_the_rows() -> None:
    assert error_of(BINS) == pytest.approx(expected_calibration_error(CONFIDENCE, CORRECT), abs=1e-12)


def test_empty_bins_have_no_point(painted: Callable[[Drawing], Figure]) -> None:
    figure = painted(reliability({"all rows": {"joint": BINS}}, rows={"all rows": 400}))
    (points,) = figure.axes[0].collections
    met = BINS.share > 0
    assert 0 < met.sum() < 15
    np.testing.assert_array_equal(points.get_offsets(), np.stack([BINS.confidence, BINS.accuracy], 1)[met])
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    np.testing.assert_allclose(heights, BINS.share)


def test_every_group_has_a_panel_and_the_errors_of_both(painted: Callable[[Drawing], Figure]) -> None:
    worse = bins_of(CONFIDENCE, CONFIDENCE < 0)
    both = {"joint": worse, "_crt": BINS}
    figure = painted(reliability({"all rows": both, "few": {"joint": BINS, "_crt": worse}}, rows=ROWS))
    right, wrong = (f"{100 * error_of(each):.1f} %" for each in (BINS, worse))
    assert [axes.get_title() for axes in figure.axes[:2]] == [
        f"all rows\nECE {wrong} → {right}",
        f"few\nECE {right} → {wrong}",
    ]
    assert [text.get_text().strip() for text in figure.legends[0].get_texts()] == ["joint", "_crt"]


def test_the_table_holds_every_bin() -> None:
    drawing = reliability({"all rows": {"joint": BINS}, "few": {"joint": BINS}}, rows=ROWS)
    assert len(drawing.rows) == 30
    assert len(drawing.columns) == len(drawing.rows[0])
    assert list(drawing.rows[14])[:4] == ["all rows", "joint", 14 / 15, 1.0]


def test_bins_without_rows_can_be_drawn() -> None:
    nothing = Reliability(BINS.low, BINS.high, BINS.accuracy * np.nan, BINS.accuracy * np.nan, BINS.share * 0)
    assert error_of(nothing) == 0
    assert reliability({"all rows": {"joint": nothing}}, rows={"all rows": 0}).svg()


def test_bins_of_few_rows_are_small_and_faintly_joined(painted: Callable[[Drawing], Figure]) -> None:
    confidence = np.repeat([0.5, 0.7, 0.9, 0.98], [1, 40, 2, 157])
    bins = bins_of(confidence, confidence != 0.5)
    figure = painted(reliability({"all rows": {"joint": bins}}, rows={"all rows": 200}))
    axes = figure.axes[0]
    (points,) = axes.collections
    assert np.argsort(points.get_sizes()).tolist() == [0, 2, 1, 3]
    faint, strong = (np.asarray(line.get_ydata()) for line in axes.get_lines()[1:3])
    assert faint.tolist() == [0, 1, 1, 1]
    assert np.isnan(strong).tolist() == [True, False, True, False]
    assert (axes.get_lines()[1].get_alpha() or 1) < (axes.get_lines()[2].get_alpha() or 1)
