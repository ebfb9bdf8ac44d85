"""The exact curve is drawn as the steps it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure

from rebalance.report.drawing import Drawing
from rebalance.report.figures import tau_curve
from rebalance.report.figures.tau_curve import clipped, thinned
from rebalance.search.path import StepCurve

CURVES = {
    "balanced": StepCurve(np.array([-1.0, 0.5, 2.0]), np.array([0.1, 0.4, 0.8, 0.2])),
    "few": StepCurve(np.array([1.0]), np.array([0.0, 1.0])),
}
Painted = Callable[[Drawing], Figure]


def draw(**options: Any) -> Drawing:
    asked = {"method": "tau_norm", "parameter": "tau", "chosen": 1.25, "interval": (0.5, None), "split": "val"}
    return tau_curve(CURVES, **{**asked, **options})


def test_the_line_has_the_steps(painted: Painted) -> None:
    axes = painted(draw()).axes[0]
    first = np.asarray(axes.get_lines()[0].get_xydata())
    np.testing.assert_array_equal(first[:, 0], [0, 0.5, 0.5, 2, 2, 3])
    np.testing.assert_array_equal(first[:, 1], [0.4, 0.4, 0.8, 0.8, 0.2, 0.2])


def shaded(axes: Any) -> Any:
    (shade,) = axes.patches
    return axes.transData.inverted().transform(shade.get_extents().get_points())[:, 0]


def test_the_chosen_value_is_marked_on_every_curve_and_its_stretch_is_shaded(painted: Painted) -> None:
    axes = painted(draw()).axes[0]
    at = [np.asarray(line.get_xydata()).tolist() for line in axes.get_lines() if len(line.get_xdata()) == 1]
    assert at == [[[1.25, 0.8]], [[1.25, 1.0]]]
    assert shaded(axes) == pytest.approx([0.5, 3.0])  # its open end at the edge
    # 1.25 is not the middle of 0.5 to 3: it was chosen in another range.
    assert axes.get_title() == "chosen: tau = 1.25, from the shaded stretch 0.5 to ∞"


@pytest.mark.parametrize(
    ("chosen", "interval", "expected", "reach", "title"),
    [
        (1.25, (0.5, 2.0), (0.5, 2.0), (0, 3), "tau = 1.25, the middle of 0.5 to 2"),
        (1.75, (0.5, None), (0.5, 3.0), (0, 3), "the middle of 0.5 to 3;\nthe stretch, 0.5 to ∞, reaches beyond"),
        (0.5, (-0.4, 1.0), (0.0, 1.0), (-0.42, 3), "the middle of 0 to 1;\nthe stretch, −0.4 to 1, reaches beyond"),
        (2.99, (2.98, 4.6), (2.98, 3.0), (0, 4.83), "the stretch, 2.98 to 4.6, reaches beyond the range that is"),
        (3.5, (3.499, 4.0), (3.499, 4.0), (0, 4.2), "which lies beyond the range that is searched"),
        (1.5, (-90.0, 90.0), (0.0, 3.0), (-3, 6), "the middle of 0 to 3"),
    ],
)
def test_the_stretch_is_cut_at_the_range_that_is_searched(
    chosen: float, interval: Any, expected: Any, reach: Any, title: str, painted: Painted
) -> None:
    axes = painted(draw(chosen=chosen, interval=interval)).axes[0]
    assert shaded(axes) == pytest.approx(expected)
    assert axes.get_xlim() == pytest.approx(reach)
    assert title in axes.get_title()


def test_a_best_value_beyond_the_range_is_said(painted: Painted) -> None:
    curve = StepCurve(np.array([2.9, 4.0]), np.array([0.5, 0.6, 0.9]))
    asked = {"method": "m", "parameter": "tau", "chosen": 2.95, "interval": (2.9, 5.0), "split": "val"}
    title = painted(tau_curve({"balanced": curve}, **asked)).axes[0].get_title()
    assert title.endswith("the middle of 2.9 to 3;\nbalanced is best beyond the range that is searched")
    far = StepCurve(np.array([2.9, 400.0]), np.array([0.5, 0.6, 0.9]))
    title = painted(tau_curve({"balanced": far}, **asked)).axes[0].get_title()
    assert title.endswith("the stretch, 2.9 to 5, reaches beyond the range that is searched")  # all that can be seen


def test_no_axis_goes_beyond_100_percent(painted: Painted) -> None:
    whole = {"balanced": StepCurve(np.array([1.0]), np.array([0.0, 1.0]))}
    asked = {"method": "m", "parameter": "tau", "chosen": 1.5, "interval": None, "split": "val"}
    assert painted(tau_curve(whole, **asked)).axes[0].get_ylim() == (0, 1)


def test_the_table_is_exact() -> None:
    drawing = draw()
    assert list(drawing.columns) == ["tau from", "tau to", "balanced", "few"]
    assert [list(row) for row in drawing.rows] == [
        [0, 0.5, 0.4, 0], [0.5, 1, 0.8, 0], [1, 2, 0.8, 1], [2, 3, 0.2, 1],
    ]  # fmt: skip


@pytest.mark.parametrize(("chosen", "expected"), [(0.5, (0, 3)), (10.0, (0, 11)), (-2.0, (-2.2, 3))])
def test_the_range_holds_the_chosen_value(chosen: float, expected: Any, painted: Painted) -> None:
    axes = painted(draw(chosen=chosen, interval=None)).axes[0]
    assert axes.get_xlim() == pytest.approx(expected)
    assert not axes.patches


def test_a_curve_without_a_step_can_be_drawn(nasty: list[str]) -> None:
    flat = {name: StepCurve(np.array([]), np.array([0.5])) for name in ["balanced", "few"]}
    asked = {"parameter": "tau", "chosen": 0.0, "interval": (None, None), "split": nasty[0]}
    assert tau_curve(flat, method=nasty[1], **asked).svg()


@given(arrays(np.float64, st.integers(0, 20), elements=st.floats(-2, 5), unique=True))
def test_clipping_keeps_the_values(breakpoints: Any) -> None:
    curve = StepCurve(np.sort(breakpoints), np.arange(len(breakpoints) + 1.0))
    edges, values = clipped(curve, 0.0, 3.0)
    assert (edges[0], edges[-1]) == (0.0, 3.0)
    assert (np.diff(edges) > 0).all()
    np.testing.assert_array_equal(curve((edges[:-1] + edges[1:]) / 2), values)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 10]))
def test_thinning_leaves_every_pixels_range(seed: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    edges = np.concatenate([[0.0], np.sort(rng.random(199)), [1.0]])
    values = rng.random(200)
    x, y = thinned(edges, values, columns)
    assert len(y) <= 4 * columns
    assert (x[0], x[-1], y[0], y[-1]) == (0.0, 1.0, values[0], values[-1])
    for pixel in range(columns):
        whole, kept = ((at[:-1] * columns).astype(int) == pixel for at in (edges, x))
        assert whole.any() == kept.any()
        if whole.any():
            assert values[whole].min() == y[kept].min()
            assert values[whole].max() == y[kept].max()


def test_a_hundred_thousand_steps_are_a_small_picture() -> None:
    rng = np.random.default_rng(0)
    curve = StepCurve(np.sort(rng.uniform(0, 3, 100_000)), rng.random(100_001))
    asked = {"method": "m", "parameter": "tau", "chosen": 1.0, "interval": None, "split": "val"}
    assert len(tau_curve({"balanced": curve}, **asked).svg()) < 500_000
