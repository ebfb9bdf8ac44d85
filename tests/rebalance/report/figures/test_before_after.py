"""Both pictures in one figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from rebalance.report.drawing import Drawing
from rebalance.report.figures import before_after

COUNTS = np.array([5, 200, 40, 0])
RECALLS = {"joint": [0.1, 0.9, 0.5, np.nan], "crt": [0.6, 0.8, 0.6, np.nan]}
NORMS = {"joint": [0.5, 2.0, 1.0, 0.4], "crt": [1.0, 1.1, 0.9, 1.0]}
Painted = Callable[[Drawing], Figure]


def draw(names: list[str] | None = None, **options: Any) -> Drawing:
    return before_after(
        options.get("recalls", RECALLS), options.get("norms", NORMS), options.get("counts", COUNTS), class_names=names
    )


def halves(figure: Figure) -> list[Axes]:
    """Recall on the left, norms on the right."""
    return [half.axes[0] for half in figure.subfigs]


def legends(figure: Figure) -> list[list[str]]:
    return [[text.get_text() for text in half.legends[0].get_texts()] for half in figure.subfigs]


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_same_figure_is_the_same_file(ending: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.{ending}" for name in ("one", "two")]
    for path in files:
        draw(["a", "b", "c", "d"]).write(path)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_recall_is_left_and_norms_are_right(painted: Painted) -> None:
    left, right = halves(painted(draw(["rare", "frequent", "some", "none"])))
    assert [label.get_text() for label in left.get_xticklabels()] == ["frequent", "some", "rare", "none"]
    joint = next(line for line in left.get_lines() if line.get_label() == "joint")
    np.testing.assert_array_equal(joint.get_ydata(), [0.9, 0.5, 0.1, np.nan])
    assert right.get_xscale() == "log"


def test_the_correlation_is_in_the_legend(painted: Painted) -> None:
    rho = spearmanr(NORMS["joint"], COUNTS).statistic
    assert legends(painted(draw()))[1][0] == f"joint (ρ = {rho:+.2f})"


def test_every_head_is_drawn(painted: Painted) -> None:
    names = [f"head{i}" for i in range(12)]
    figure = painted(draw(recalls=dict.fromkeys(names, RECALLS["joint"]), norms=dict.fromkeys(names, NORMS["joint"])))
    assert legends(figure)[0] == names
    lines = halves(figure)[0].get_lines()
    assert len({(line.get_color(), line.get_marker()) for line in lines if line.get_label() in names}) == len(names)
    assert len(halves(figure)[1].collections) == len(names)


def test_a_head_whose_name_begins_with_an_underscore_is_in_the_legend(painted: Painted) -> None:
    found = legends(painted(draw(recalls={"_mine": RECALLS["joint"]}, norms={"_mine": NORMS["joint"]})))
    assert all(len(each) == 1 and "_mine" in each[0] for each in found)


def test_any_name_can_be_drawn(nasty: list[str]) -> None:
    values = np.linspace(0.1, 1, len(nasty))
    heads = {f"{name}{i}": values for i, name in enumerate(nasty)}
    assert draw(nasty, recalls=heads, norms=heads, counts=np.arange(len(nasty))).svg()


def test_a_hundred_classes_are_not_named(painted: Painted) -> None:
    values = {"joint": np.linspace(0.5, 1, 100)}
    figure = painted(draw([str(k) for k in range(100)], recalls=values, norms=values, counts=np.arange(100)))
    assert halves(figure)[0].get_xlabel() == "classes, most training rows first"


def test_the_table_holds_both() -> None:
    drawing = draw()
    assert len(drawing.columns) == 3 + 2 + 2
    assert list(drawing.rows[1]) == [1, "", 200, 0.9, 0.8, 2.0 / np.mean(NORMS["joint"]), 1.1]
