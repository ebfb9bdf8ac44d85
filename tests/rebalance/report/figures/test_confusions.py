"""The most confused pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rebalance.report.drawing import Drawing
from rebalance.report.figures import confusions


def pairs(*cells: tuple[int, int, int]) -> Any:
    return tuple(np.array(column, dtype=np.int64) for column in zip(*cells, strict=True)) or (np.zeros(0, int),) * 3


WRONG = {"joint": pairs((0, 1, 9), (2, 0, 4), (1, 2, 1)), "crt": pairs((1, 2, 7), (0, 1, 3))}


def test_pairs_are_those_with_most_rows_under_any_head() -> None:
    drawing = confusions(WRONG, 3, class_names=["a", "b", "c"], shown=2)
    assert list(drawing.columns) == ["class", "name", "taken for", "name of that", "rows under joint", "rows under crt"]
    assert [list(row) for row in drawing.rows] == [[0, "a", 1, "b", 9, 3], [1, "b", 2, "c", 1, 7]]


def test_bars_are_as_long_as_the_rows_and_the_first_is_on_top(painted: Callable[[Drawing], Figure]) -> None:
    axes = painted(confusions(WRONG, 3)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0 → 1", "1 → 2", "2 → 0"]
    assert axes.yaxis_inverted()
    assert [bar.get_width() for bar in axes.patches] == [9, 1, 4, 3, 7, 0]
    first, second = axes.patches[0], axes.patches[3]
    assert (first.get_hatch() or "") != second.get_hatch()  # told apart in print
    assert first.get_y() + first.get_height() <= second.get_y() + 1e-9


def test_one_head_one_pair_any_name(nasty: list[str]) -> None:
    assert confusions({"joint": pairs((0, 1, 1))}, 2, class_names=["$", "b"]).svg()
    wrong = {name: pairs(*((i, i + 1, 1) for i in range(len(nasty) - 1))) for name in nasty[:2]}
    assert confusions(wrong, len(nasty), class_names=nasty).png()


def test_a_head_without_mistakes_has_bars_of_no_length() -> None:
    drawing = confusions({"joint": pairs((0, 1, 1)), "perfect": pairs()}, 2)
    assert list(drawing.rows[0]) == [0, "", 1, "", 1, 0]
    assert drawing.svg()
