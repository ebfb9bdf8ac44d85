"""Figures as cells."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebalance.metrics import FIGURES
from rebalance_cli.judging import columns
from rebalance_cli.judging.columns import Column

BALANCED, NLL = Column("balanced", "balanced"), Column("NLL", "nll", "number", lower=True)


def head(value: float | None, interval: tuple[float, float] | None = None, key: str = "balanced") -> dict[str, Any]:
    return {key: value, "intervals": {} if interval is None else {key: list(interval)}}


def differing(value: float, low: float | None, high: float | None, key: str = "balanced") -> dict[str, Any]:
    return {"difference": {key: {"value": value, "low": low, "high": high}}}


def test_half_of_the_interval_stands_in_the_cell() -> None:
    assert BALANCED.cell(head(0.7291, (0.722, 0.736))) == "72.9±0.7"
    assert NLL.cell(head(0.5, (0.45, 0.55), "nll")) == "0.500±0.050"
    assert Column("x", "balanced", half=False).cell(head(0.7291, (0.722, 0.736))) == "72.9"
    assert BALANCED.cell(head(1.0)) == "100.0"
    assert BALANCED.cell(head(None)) == "–"


@pytest.mark.parametrize(
    ("unit", "text"), [("percent", "1.2"), ("small percent", "1.23"), ("number", "0.012"), ("cost", "0.01235")]
)
def test_units(unit: Any, text: str) -> None:
    assert Column("x", "x", unit).text(0.012345) == text


@pytest.mark.parametrize(
    ("found", "column", "cell"),
    [
        ((0.131, 0.122, 0.140), BALANCED, ("+13.1 [+12.2, +14.0]", "green")),
        ((-0.02, -0.03, -0.01), BALANCED, ("-2.0 [-3.0, -1.0]", "red")),
        ((0.02, -0.01, 0.05), BALANCED, "+2.0 [-1.0, +5.0]"),
        ((0.02, 0.0, 0.05), BALANCED, "+2.0 [0.0, +5.0]"),
        ((-0.0004, -0.0004, 0.0), BALANCED, "0.0 [0.0, 0.0]"),
        ((0.1, None, None), BALANCED, "+10.0"),
    ],
)
def test_a_difference_is_coloured_where_its_interval_excludes_zero(found: Any, column: Column, cell: Any) -> None:
    assert column.difference(differing(*found)) == cell


def test_less_of_what_is_bad_is_green() -> None:
    assert NLL.difference(differing(-0.2, -0.3, -0.1, "nll")) == ("-0.200 [-0.300, -0.100]", "green")
    assert NLL.difference(differing(0.2, 0.1, 0.3, "nll"))[1] == "red"


def test_no_difference_is_a_dash() -> None:
    assert BALANCED.difference({"difference": None}) == "–"
    assert BALANCED.difference({"difference": {}}) == "–"


@given(st.floats(-1, 1))
def test_the_sign_is_there_unless_the_text_is_zero(value: float) -> None:
    text = BALANCED.signed(value)
    assert text == "0.0" or (text[0] == "-") == (value < 0)
    assert abs(float(text) - 100 * value) < 0.0501


def test_every_figure_has_a_column() -> None:
    tables = (
        columns.ACCURACY,
        columns.PROBABILITIES,
        columns.COSTS,
        columns.MEANS,
        columns.GROUPS_CALIBRATED,
    )
    assert {column.key for each in tables for column in each} == set(FIGURES)
