"""Which column is which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from featurecache.convert.columns import ALIASES, find_columns

FILE = Path("some/file.npz")


@pytest.mark.parametrize("ours", ALIASES)
def test_every_alias_is_recognised_in_any_case_and_group(ours: str) -> None:
    shapes = {"features": (4, 3), "logits": (4, 2), "labels": (4,), "sample_id": (4,)}
    for alias in ALIASES[ours]:
        for name in (alias, alias.upper(), f"train/{alias}"):
            there = {"features": (4, 3)} | {name: shapes[ours]} if ours != "features" else {name: (4, 3)}
            assert find_columns(there, {}, FILE)[ours] == name


def test_no_alias_means_two_columns() -> None:
    every = [alias for aliases in ALIASES.values() for alias in aliases]
    assert len(set(every)) == len(every)


def test_what_is_named_is_taken_and_the_rest_recognised() -> None:
    there = {"a": (4, 3), "features": (4, 9), "y": (4,), "index": (4,)}
    assert find_columns(there, {"features": "a"}, FILE) == {"features": "a", "labels": "y"}
    assert find_columns(there, {"features": "a", "labels": ""}, FILE) == {"features": "a"}


def test_a_name_with_other_dimensions_is_not_recognised() -> None:
    assert find_columns({"x": (4, 3), "y": (4, 2), "scores": (4,)}, {}, FILE) == {"features": "x"}


class TestRefused:
    """What a person has to say more about."""

    def test_nothing_looks_like_features(self, refused: Any) -> None:
        with refused("some/file.npz", "'a' (4, 3), 'b' (7,)", "--map features=NAME"):
            find_columns({"a": (4, 3), "b": (7,)}, {}, FILE)
        with refused("there are no columns"):
            find_columns({}, {}, FILE)

    def test_two_look_like_it(self, refused: Any) -> None:
        with refused("'train/feats', 'val/feats'", "--map features=NAME"):
            find_columns({"train/feats": (4, 3), "val/feats": (4, 3)}, {}, FILE)
        with refused("'y', 'targets'", "--map labels=NAME"):
            find_columns({"x": (4, 3), "y": (4,), "targets": (4,)}, {}, FILE)

    def test_names_that_are_not_there(self, refused: Any) -> None:
        with refused("no column 'b'", "'a' (4, 3)"):
            find_columns({"a": (4, 3)}, {"features": "b"}, FILE)
        with refused("--map 'feature'", "expected one of features, labels, logits, sample_id"):
            find_columns({"a": (4, 3)}, {"feature": "a"}, FILE)

    @pytest.mark.parametrize(
        ("there", "part"),
        [
            ({"x": (4, 3), "y": (5,)}, "labels 'y' have shape (5,); expected (4,)"),
            ({"x": (4, 3), "logits": (3, 4)}, "logits 'logits' have shape (3, 4); expected (4, K)"),
            ({"x": (4, 2**21)}, "at most 1048576 columns"),
            ({"x": (4, 0)}, "expected (N, D)"),
            ({"x": (0, 3)}, "0 rows"),
            ({"x": (10**9 + 1, 3)}, "1000000001 rows"),
        ],
    )
    def test_shapes_that_do_not_fit(self, there: dict[str, tuple[int, ...]], part: str, refused: Any) -> None:
        with refused("some/file.npz", part):
            find_columns(there, {}, FILE)

    def test_strangers_names_are_short_and_printable(self, refused: Any) -> None:
        there = {"x\n\x1b[31m" * 1000: (4, 3)} | {f"column {i}" * 9: (4,) * 20 for i in range(1000)}
        with refused("…"):
            find_columns(there, {}, FILE)
