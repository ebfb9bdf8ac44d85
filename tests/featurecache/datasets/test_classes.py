"""One class map for every split."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from featurecache.datasets.classes import columns, numbered


@given(st.lists(st.text(min_size=1), unique=True, min_size=1), st.randoms())
def test_columns_name_what_they_are_columns_of(names: list[str], random: Any) -> None:
    part = random.sample(names, random.randint(0, len(names)))
    assert [names[k] for k in columns(part, names, source="x")] == part


def test_without_a_map_the_own_order_counts() -> None:
    assert columns(["b", "a"], None, source="x") == [0, 1]


def test_a_strange_class_is_refused_by_name(refused: Any) -> None:
    with refused("folder 'x': class 'owl' is not one of the 2 known classes", "nor are 1 others"):
        columns(["cat", "owl", "yak"], ["cat", "dog"], source="folder 'x'")


def test_a_name_of_two_columns_is_refused_only_where_it_is_used(refused: Any) -> None:
    known = ["crane", "owl", "crane"]  # a bird and a machine, as in ImageNet
    assert columns(["owl"], known, source="x") == [1]
    with refused("x: class 'crane' is the name of both column 0 and column 2"):
        columns(["owl", "crane"], known, source="x")


def test_no_known_class_at_all(refused: Any) -> None:
    with refused("class 'owl' is not one of the 0 known classes"):
        columns(["owl"], [], source="x")


def test_numbers_are_names_where_they_can_be_else_columns(refused: Any) -> None:
    assert numbered([0, 5], None, source="x") == [0, 5]
    assert numbered([1, 2], ["2", "1", "0"], source="x") == [1, 0]
    assert numbered([0, 2], ["cat", "dog", "owl"], source="x") == [0, 2]
    with refused("x: label 3 is not one of the 3 known classes", "0 to 2"):
        numbered([0, 3], ["cat", "dog", "owl"], source="x")
