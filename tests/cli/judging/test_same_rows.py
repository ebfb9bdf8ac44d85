"""Rows that two splits share are told from rows that only have the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featurecache import FeatureCache, Split, write
from rebalance import LinearHead
from rebalance_cli.judging.payload import marks
from rebalance_cli.judging.same_rows import share_rows

FEATURES = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)


def splits(tmp_path: Path, other: Any, ids: list[str], **options: Any) -> tuple[Split, Split]:
    names = [f"{row}.jpg" for row in range(40)]
    write(tmp_path / "c", "val", FEATURES, np.zeros(40, dtype=np.int64), sample_ids=names, **options)
    write(tmp_path / "c", "test", other, np.zeros(len(other), dtype=np.int64), sample_ids=ids, **options)
    cache = FeatureCache(tmp_path / "c")
    return cache["val"], cache["test"]


def test_one_row_in_both_is_found_though_it_was_computed_in_another_batch(tmp_path: Path) -> None:
    other = np.concatenate([FEATURES[7:8] * (1 + 1e-3), np.ones((5, 8), np.float32)])
    assert share_rows(*splits(tmp_path, other, ["7.jpg", *(f"other{row}.jpg" for row in range(5))]))


@pytest.mark.parametrize("ids", [[f"{row}.jpg" for row in range(40)], [f"new{row}.jpg" for row in range(40)]])
def test_other_images_of_the_same_names_are_other_rows(tmp_path: Path, ids: list[str]) -> None:
    assert not share_rows(*splits(tmp_path, np.roll(FEATURES, 1, axis=0), ids))


def test_very_large_splits_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = splits(tmp_path, FEATURES, [f"{row}.jpg" for row in range(40)])
    assert share_rows(one, other)
    monkeypatch.setattr("rebalance_cli.judging.same_rows.MOST", 79)
    assert not share_rows(one, other)


def test_a_head_tuned_on_rows_that_are_reported_under_another_name_is_marked(tmp_path: Path) -> None:
    _, test = splits(tmp_path, FEATURES, [f"{row}.jpg" for row in range(40)])
    head = LinearHead(np.ones((2, 8)), record={"tuned_on": "val", "fitted_on": "gone"})
    assert marks(head, test) == []
    assert marks(head, test, {"val"}) == ["tuned on val, which holds rows of test"]
