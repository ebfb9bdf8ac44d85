"""Counts leave unlabelled rows out; the shot groups cover every class once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rebalance import Shots, class_counts


@given(st.lists(st.integers(-1, 6), max_size=50), st.integers(0, 3))
def test_counts_are_those_of_a_loop(labels: list[int], spare: int) -> None:
    counts = class_counts(np.array(labels, dtype=np.int64), 7 + spare)
    assert counts.dtype == torch.int64
    assert counts.tolist() == [labels.count(k) for k in range(7 + spare)]


@pytest.mark.parametrize(("label", "parts"), [(3, ["label 3", "3 classes", r"0\.\.2"]), (-2, ["label -2", "-1"])])
def test_a_label_out_of_range_is_named(label: int, parts: list[str], refuses: Any) -> None:
    with refuses(*parts):
        class_counts(torch.tensor([0, label, 1]), 3)


@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=30),
    st.integers(0, 150).flatmap(lambda few: st.tuples(st.just(few), st.integers(few, 300))),
    st.booleans(),
)
def test_every_class_is_in_exactly_one_group(counts: list[int], bounds: tuple[int, int], closed: bool) -> None:
    groups = Shots(*bounds, closed=closed).groups(counts)
    assert list(groups) == ["many", "medium", "few"]
    assert (np.sum(list(groups.values()), axis=0) == 1).all()


def test_both_bounds_are_medium() -> None:
    groups = Shots().groups(np.array([101, 100, 20, 19, 0]))
    assert groups["many"].tolist() == [True, False, False, False, False]
    assert groups["medium"].tolist() == [False, True, True, False, False]
    assert groups["few"].tolist() == [False, False, False, True, True]


def test_a_closed_bound_is_few() -> None:
    groups = Shots(closed=True).groups(np.array([101, 100, 21, 20, 19, 0]))
    assert groups["many"].tolist() == [True, False, False, False, False, False]
    assert groups["medium"].tolist() == [False, True, True, False, False, False]
    assert groups["few"].tolist() == [False, False, False, True, True, True]
    assert Shots(closed=True) != Shots()


def test_a_count_at_two_equal_bounds_is_in_one_group() -> None:
    assert [name for name, mask in Shots(20, 20).groups([20]).items() if mask[0]] == ["medium"]
    assert [name for name, mask in Shots(20, 20, closed=True).groups([20]).items() if mask[0]] == ["few"]


def test_the_rule_says_the_bounds() -> None:
    assert Shots(5, 50).rule == "many > 50, medium 5..50, few < 5 training rows"
    assert Shots(5, 50, closed=True).rule == "many > 50, medium 6..50, few ≤ 5 training rows"
    assert Shots(20, 20, closed=True).rule == "many > 20, medium none, few ≤ 20 training rows"


@pytest.mark.parametrize("bounds", [(-1, 10), (30, 20)])
def test_bounds_in_the_wrong_order_are_refused(bounds: tuple[int, int], refuses: Any) -> None:
    with refuses(f"{bounds[0]},{bounds[1]}"):
        Shots(*bounds)
