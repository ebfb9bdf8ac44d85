"""Recall per class, in the order of training rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure

from rebalance.report.drawing import Drawing
from rebalance.report.figures import recall
from rebalance.report.figures.recall import running_mean, window_of

COUNTS = [5, 200, 40, 0]
RECALLS = {"joint": [0.1, 0.9, 0.5, np.nan], "crt": [0.6, 0.8, 0.6, np.nan]}
Painted = Callable[[Drawing], Figure]


def lines(figure: Figure) -> dict[str, Any]:
    axes = next(each for each in figure.axes if each.get_ylabel() == "recall")
    return {str(line.get_label()): line for line in axes.get_lines() if not str(line.get_label()).startswith("_")}


def test_classes_are_sorted_by_training_rows(painted: Painted) -> None:
    figure = painted(recall(RECALLS, COUNTS, class_names=["rare", "frequent", "some", "none"]))
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["frequent", "some", "rare", "none"]
    np.testing.assert_array_equal(lines(figure)["joint"].get_ydata(), [0.9, 0.5, 0.1, np.nan])
    assert (
        len({(line.get_color(), line.get_marker(), str(line.get_linestyle())) for line in lines(figure).values()}) == 2
    )


def test_the_table_holds_what_is_drawn() -> None:
    masks = {"many": np.array([False, True, False, False]), "few": np.array([True, False, False, True])}
    drawing = recall(RECALLS, COUNTS, class_names=["a", "b", "c", "d"], groups=masks)
    assert list(drawing.columns) == ["class", "name", "training rows", "group", "recall of joint", "recall of crt"]
    assert [list(row) for row in drawing.rows[:3]] == [
        [1, "b", 200, "many", 0.9, 0.8], [2, "c", 40, "", 0.5, 0.6], [0, "a", 5, "few", 0.1, 0.6],
    ]  # fmt: skip


def test_training_rows_stand_behind_at_the_same_height(painted: Painted) -> None:
    figure = painted(recall(RECALLS, COUNTS))
    axes, behind = figure.axes
    counts, edges, _ = behind.patches[0].get_data()
    np.testing.assert_array_equal(counts, [200, 40, 5, 0])
    np.testing.assert_array_equal(edges, [-0.5, 0.5, 1.5, 2.5, 3.5])
    heights = [each.transData.transform((0, zero))[1] for each, zero in ((axes, 0), (behind, 0))]
    assert heights[0] == pytest.approx(heights[1])


def test_groups_are_parted_and_named(painted: Painted) -> None:
    order = {"many": [0, 1, 0, 0], "medium": [0, 0, 1, 0], "few": [1, 0, 0, 1]}
    figure = painted(recall(RECALLS, COUNTS, groups={name: np.array(mask, bool) for name, mask in order.items()}))
    assert [text.get_text() for text in figure.axes[0].texts] == ["many", "medium", "few"]
    assert [text.get_position()[0] for text in figure.axes[0].texts] == [0, 1, 2.5]


def test_the_names_of_groups_stand_above_recalls_of_100_percent(painted: Painted) -> None:
    names = [f"A very long name of species {k}" for k in range(30)]
    figure = painted(
        recall({"joint": np.ones(30)}, np.arange(30), class_names=names, groups={"few": np.ones(30, bool)})
    )
    (text,) = figure.axes[0].texts
    marker = 3 * figure.dpi / 72  # half of it
    assert text.get_window_extent().y0 > figure.axes[0].transData.transform((0, 1.0))[1] + marker
    assert all(len(shown.get_text()) <= 18 for shown in figure.axes[0].get_xticklabels())


@pytest.mark.parametrize("counts", [[0, 0, 0, 0], [7, 7, 7, 7], COUNTS])
def test_any_counts_can_be_drawn(counts: list[int]) -> None:
    assert recall(RECALLS, counts).png()


def test_two_classes_one_head_nothing_known() -> None:
    assert recall({"joint": [np.nan, np.nan]}, [1, 0]).svg()


def test_any_name_can_be_drawn(nasty: list[str]) -> None:
    values = np.linspace(0, 1, len(nasty))
    heads = {f"{name}{i}": values for i, name in enumerate(nasty)}
    assert recall(heads, range(len(nasty)), class_names=nasty).png()


@given(
    arrays(np.float64, st.integers(1, 30), elements=st.sampled_from([np.nan, 0.0, 0.25, 1.0])),
    st.integers(0, 8).map(lambda half: 2 * half + 1),
)
def test_the_running_mean_is_a_loops(values: Any, window: int) -> None:
    half = window // 2
    around = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    expected = [np.mean(part[np.isfinite(part)]) if np.isfinite(part).any() else np.nan for part in around]
    np.testing.assert_allclose(running_mean(values, window), expected, atol=1e-12)


def test_few_classes_are_not_averaged() -> None:
    assert window_of(100) == 1
    assert window_of(1000) == 41


def test_thousands_of_classes_are_a_small_picture() -> None:
    rng = np.random.default_rng(0)
    counts = rng.permutation(np.arange(8142))  # no two alike: the most steps
    started = time.perf_counter()
    drawing = recall({"joint": rng.random(8142), "crt": rng.random(8142)}, counts)
    assert len(drawing.svg()) < 500_000
    assert time.perf_counter() - started < 6  # seconds; 0.3 on an idle machine
    assert len(drawing.rows) == 8142
    assert drawing.columns[-1] == "recall of crt, mean of 325 classes"
