"""Which columns predictions have."""

from __future__ import annotations

from typing import Any

import pytest

from rebalance_cli.predicting.subject import Subject, endings, names_in


def subject(**changes: Any) -> Subject:
    """Images of three classes."""
    values: dict[str, Any] = {"parts": iter(()), "rows": 0, "num_classes": 3, "class_names": ["a", "b", "c"]}
    values |= {"split_names": (), "labelled": True, "record": None, "counts": None, "where": ""}
    return Subject(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["id", "label", "prediction", "name", "probability"]),
        ({"labelled": False}, ["id", "prediction", "name", "probability"]),
        ({"class_names": None}, ["id", "label", "prediction", "probability"]),
        ({"split_names": ("test",)}, ["split", "id", "label", "prediction", "name", "probability"]),
    ],
)
def test_columns(changes: dict[str, Any], expected: list[str]) -> None:
    assert list(subject(**changes).columns(1)) == expected


def test_several_classes_a_row() -> None:
    assert endings(2) == ["_1", "_2"]
    assert list(subject(labelled=False, class_names=None).columns(2).items()) == [
        ("id", "text"),
        *(("prediction_1", "integer"), ("probability_1", "number")),
        *(("prediction_2", "integer"), ("probability_2", "number")),
    ]


def test_names_are_as_many_texts_as_there_are_classes() -> None:
    assert names_in(["a", "b"], 2) == ("a", "b")
    for strange in (None, ["a"], ["a", 2], "ab", {"a": 1, "b": 2}):
        assert names_in(strange, 2) is None
