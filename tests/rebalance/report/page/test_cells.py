"""How figures, differences and counts are written in a cell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebalance.report.page.cells import (
    DASH,
    EMPTY,
    MINUS,
    Cell,
    count,
    difference,
    figure,
    probability,
    signed,
    spanned,
)


def test_figure_with_its_interval() -> None:
    assert figure(0.7293, "percent", (0.722, 0.736)) == Cell("72.9", "72.2–73.6", "0.7293")
    assert figure(1.8, "number") == Cell("1.800", "", "1.8")
    assert figure(12345.678, "cost").text == "1.235e+04"
    assert figure(-0.25, "cost").text == f"{MINUS}0.25"


def test_a_figure_that_is_not_defined_is_a_dash_with_nothing_to_sort_by() -> None:
    assert figure(None, "percent", (0.1, 0.2)) == difference(None, None, None, "percent") == EMPTY
    assert (EMPTY.text, EMPTY.small, EMPTY.value) == (DASH, "", None)


@pytest.mark.parametrize(
    ("low", "high", "better", "tone"),
    [
        (0.01, 0.03, "high", "gain"),
        (0.01, 0.03, "low", "loss"),
        (-0.01, 0.03, "high", ""),
        (0.0, 0.03, "high", ""),
        (None, None, "high", ""),
    ],
)
def test_difference_is_a_gain_or_a_loss_only_beyond_doubt(low: float, high: float, better: str, tone: str) -> None:
    assert difference(0.02, low, high, "percent", better).tone == tone  # type: ignore[arg-type]
    # The other way round it is the other thing.
    ends = (None, None) if low is None else (-high, -low)
    opposite = {"gain": "loss", "loss": "gain", "": ""}[tone]
    assert difference(-0.02, *ends, "percent", better).tone == opposite  # type: ignore[arg-type]


def test_difference_carries_its_sign_and_its_interval() -> None:
    cell = difference(-0.1312, -0.1404, -0.122, "percent")
    assert cell == Cell(f"{MINUS}13.1", f"{MINUS}14.0 to {MINUS}12.2", "-0.1312", "loss")
    assert difference(0.02, -0.01, 0.03, "percent").small == f"{MINUS}1.0 to +3.0"


@given(st.floats(-2, 2))
def test_sign_says_which_way_and_zero_has_none(value: float) -> None:
    text = signed(value, "percent")
    if float(text.replace(MINUS, "-")) == 0:
        assert text == "0.0"
        assert abs(value) <= 0.0005
    else:
        assert text[0] == ("+" if value > 0 else MINUS)


def test_counts_and_probabilities() -> None:
    assert count(8142).text == "8,142"
    assert probability(0.03125) == Cell("0.0312", value="0.03125")
    assert probability(1e-12) == Cell("< 0.0001", value="1e-12")


def test_runs_of_columns_share_a_title() -> None:
    assert spanned(["", "", "ECE", "ECE", "", "ECE"]) == [("", 2), ("ECE", 2), ("", 1), ("ECE", 1)]
    assert spanned(["", ""]) == spanned([]) == []
