"""One class map for every split."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from featurecache.datasets.classes import columns


@given(st.lists(st.text(min_size=1), unique=True, min_size=1), st.randoms())
def test_columns_name_what_they_are_columns_of(names: list[str], random: Any) -> None:
    part = random.sample(names, random.randint(0, len(names)))
    assert [names[k] for k in columns(part, names, source="x")] == part


def test_without_a_map_the_own_order_counts() -> None:
    assert columns(["b", "a"], None, source="x") == [0, 1]


def test_a_strange_class_is_refused_by_name(refused: Any) -> None:
    with refused("folder 'x': class 'owl' is not one of the 2 known classes", "nor are 1 others"):
        columns(["cat", "owl", "yak"], ["cat", "dog"], source="folder 'x'")
