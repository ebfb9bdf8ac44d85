"""Many against few."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from rebalance.report.drawing import Drawing
from rebalance.report.figures import Standing, trade_off

STANDINGS = {
    "joint": Standing(0.9, 0.2, (0.88, 0.92), (0.15, 0.25), 0.5),
    "crt": Standing(0.8, 0.6, (0.77, 0.83), (0.5, 0.7), 0.7),
}


def test_every_head_is_a_named_point_within_its_cross(painted: Callable[[Drawing], Figure]) -> None:
    axes = painted(trade_off(STANDINGS)).axes[0]
    assert [text.get_text() for text in axes.texts if text.get_text()] == ["joint", "crt"]
    places = [np.asarray(line.get_xydata()) for line in axes.get_lines()]
    assert [place.tolist() for place in places if len(place) == 1] == [[[0.2, 0.9]], [[0.6, 0.8]]]
    assert [place.tolist() for place in places if len(place) == 2][:2] == [
        [[0.15, 0.9], [0.25, 0.9]],
        [[0.2, 0.88], [0.2, 0.92]],
    ]
    assert axes.get_xlim()[0] < 0.15
    assert axes.get_xlim()[1] > 0.7


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_no_axis_goes_where_there_are_no_shares(share: float, painted: Callable[[Drawing], Figure]) -> None:
    tied = {f"head {i}": Standing(share, share, (share, share), (max(0, share - 0.2), share)) for i in range(3)}
    axes = painted(trade_off(tied)).axes[0]
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        assert 0 <= low < high <= 1
        assert low <= share <= high


def test_of_many_heads_the_points_have_numbers(painted: Callable[[Drawing], Figure]) -> None:
    figure = painted(trade_off({f"head{i}": Standing(0.5, 0.04 * i) for i in range(13)}))
    assert [text.get_text() for text in figure.axes[0].texts if text.get_text()] == [str(i) for i in range(1, 14)]
    beside = [text.get_text() for text in figure.legends[0].get_texts()]
    assert beside == [f"{i + 1}  head{i}" for i in range(13)]


def test_the_table_holds_points_and_intervals() -> None:
    drawing = trade_off({**STANDINGS, "bare": Standing(1.0, 0.0)})
    assert list(drawing.columns) == ["head", "few", "few from", "few to", "many", "many from", "many to", "balanced"]
    assert list(drawing.rows[0]) == ["joint", 0.2, 0.15, 0.25, 0.9, 0.88, 0.92, 0.5]
    assert list(drawing.rows[2]) == ["bare", 0.0, None, None, 1.0, None, None, None]
    assert "95 %" in drawing.caption
    assert "95 %" not in trade_off({"bare": Standing(1.0, 0.0)}).caption


def test_a_single_head_and_any_name_can_be_drawn(nasty: list[str]) -> None:
    assert trade_off({"bare": Standing(1.0, 0.0)}).svg()
    assert trade_off({f"{name}{i}": Standing(0.5, 0.01 * i) for i, name in enumerate(nasty)}).svg()
