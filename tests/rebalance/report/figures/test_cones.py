"""Decision cones are the head's decisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import style as matplotlib_style
from matplotlib.figure import Figure

from rebalance import LinearHead
from rebalance.head import NormalizedHead
from rebalance.methods import tau_norm
from rebalance.report.drawing import Drawing
from rebalance.report.figures import cones
from rebalance.report.figures.cones import draw_cones
from rebalance.report.style import LIGHT

CLASSES = (4, 0, 2)


@pytest.fixture
def drawing(problem: Any) -> Drawing:
    heads = {"joint": problem.head, "tau": tau_norm(problem.head, problem.features, problem.labels, tau=1.0)}
    names = ["a", "b", "c", "=d", "$e"]
    return cones(heads, problem.val_features, problem.val_labels, CLASSES, class_names=names)


def test_the_table_holds_the_decisions(drawing: Drawing, problem: Any) -> None:
    assert list(drawing.columns) == ["what", "x", "y", "class", "name", "decision of joint", "decision of tau"]
    rows = [row for row in drawing.rows if row[0] == "row"]
    assert len(rows) == 36
    for k in CLASSES:
        own = problem.val_features[problem.val_labels == k]
        decided = [CLASSES[i] for i in problem.head(own)[:, list(CLASSES)].argmax(dim=1).tolist()]
        assert [row[5] for row in rows if row[3] == k] == decided
    places = [row for row in drawing.rows if row[0] == "place"]
    assert {row[5] for row in places} == set(CLASSES)
    assert len([row for row in drawing.rows if row[0] == "mean"]) == 3


def test_both_panels_show_the_same_rows(drawing: Drawing, painted: Callable[[Drawing], Figure]) -> None:
    figure = painted(drawing)
    assert [axes.get_title() for axes in figure.axes] == ["joint", "tau"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["$e", "a", "c"]
    shown = [[np.asarray(line.get_xydata()).tolist() for line in axes.get_lines()] for axes in figure.axes]
    assert shown[0] == shown[1]
    assert sum(len(line) for line in shown[0]) == 36 + 3
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    assert all(axes.get_aspect() == 1 for axes in figure.axes)


def test_regions_cover_the_plane_once() -> None:
    """The share of each region is that of the decisions, and together they leave nothing out."""
    x, y = np.linspace(-1, 1, 101), np.linspace(-1, 1, 101)
    scores = np.stack([np.add.outer(a * y, b * x) for a, b in ((1, 0), (-1, 0.5), (0, -1))], axis=2)
    with matplotlib_style.context(["default", LIGHT.settings()]):
        axes = Figure().subplots()
        draw_cones(axes, x, y, scores, LIGHT)
    filled = [patch for patch in axes.patches if patch.get_fill()]
    points = np.random.default_rng(0).uniform(-0.99, 0.99, (2000, 2))
    best = np.stack([a * points[:, 1] + b * points[:, 0] for a, b in ((1, 0), (-1, 0.5), (0, -1))], 1).argmax(axis=1)
    inside = np.stack([patch.get_path().contains_points(points) for patch in filled], axis=1)
    assert np.mean(inside.sum(axis=1) == 1) > 0.99
    assert np.mean(inside[np.arange(len(points)), best]) > 0.99


def test_a_head_that_decides_for_one_class_only() -> None:
    head = LinearHead(torch.zeros(3, 2), torch.tensor([1.0, 0.0, 0.0]))
    features = torch.tensor([[0.0, 0], [1, 0], [0, 1]])
    drawing = cones({"a": head, "b": NormalizedHead(torch.eye(3, 2))}, features, torch.arange(3), (0, 1, 2))
    assert {row[5] for row in drawing.rows} == {0}
    assert drawing.svg()


def test_means_on_a_line_are_refused(problem: Any, refuses: Any) -> None:
    features = torch.tensor([[0.0], [1], [2]]) @ torch.ones(1, 8)
    with refuses("span no plane"):
        cones({"joint": problem.head}, features, torch.arange(3), (0, 1, 2))
