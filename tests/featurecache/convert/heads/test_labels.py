"""The order of a classifier's rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.convert.heads.labels import check_labels, row_order


@given(st.permutations(range(6)))
def test_every_class_gets_its_own_row(labels: list[int]) -> None:
    order, names = row_order(np.array(labels), None)
    assert [labels[row] for row in order] == list(range(6))
    assert names is None


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float64", ">i4"])
def test_numbers_of_any_type(dtype: str) -> None:
    assert row_order(np.array([0, 1, 2], dtype), ["a", "b", "c"]) == ([0, 1, 2], ("a", "b", "c"))
    assert row_order(np.array([False, True]), None) == ([0, 1], None)


@given(st.permutations(["eel", "käfer", "fox", "owl"]))
def test_names_are_the_classes_names_in_the_order_that_was_asked_for(wanted: list[str]) -> None:
    labels = np.array(["eel", "fox", "käfer", "owl"])
    order, names = row_order(labels, wanted)
    assert names == tuple(wanted)
    assert [str(labels[row]) for row in order] == wanted
    assert row_order(labels, None) == ([0, 1, 2, 3], ("eel", "fox", "käfer", "owl"))
    assert row_order(np.char.encode(labels, "utf-8"), wanted) == (order, names)


@pytest.mark.parametrize(
    ("labels", "names", "parts"),
    [
        (np.array([0, 1, 3]), None, ("0, 1, 3;", "the numbers 0 to 2")),
        (np.array([1, 2, 3]), None, ("1, 2, 3;",)),
        (np.array([-1, 1]), None, ("-1, 1;",)),
        (np.array([0, 0, 1]), None, ("0, 0, 1;",)),
        (np.array([0.0, np.nan]), None, ("0, nan;",)),
        (np.array([0.5, 1.0]), None, ("0.5, 1;",)),
        (np.arange(1, 500), None, ("1, 2, 3, 4, 5, 6, …;", "0 to 498")),
        (np.array([0, 1j]), None, ("complex128",)),
        (np.array(["a", "a"]), None, ("a name twice",)),
        (np.array(["a", "b"]), ["a", "c"], ("differ in 'b'", "the same names")),
        (np.array([b"a", b"\xff"]), None, ("UTF-8",)),
    ],
)
def test_labels_that_are_no_classes(labels: Any, names: Any, parts: tuple[str, ...], refused: Any) -> None:
    with refused(*parts):
        row_order(labels, names)


def test_a_letter_that_is_none(refused: Any) -> None:
    with refused("letter"):
        row_order(np.array([0, 0x110000], "<u4").view("<U1"), None)


def test_labels_are_one_a_row(refused: Any) -> None:
    check_labels((3,), 3)
    for shape in ((2,), (3, 1), ()):
        with refused(f"classes_ has shape {shape}; expected (3,)"):
            check_labels(shape, 3)
