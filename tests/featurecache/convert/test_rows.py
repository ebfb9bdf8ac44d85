"""The rows of a cache for other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featurecache import FeatureCache, write
from featurecache.convert.rows import columns_of, cut, save_head


def test_every_column_in_blocks(cache: FeatureCache, columns: Any, same_rows: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("featurecache.convert.blocks.BLOCK_ROWS", 10)
    blocks = list(cut(columns_of(cache["train"])))
    assert [len(block["index"]) for block in blocks] == [10, 10, 10, 7]
    found = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    same_rows(found, {**columns, "index": np.arange(37), "status": np.zeros(37)})


def test_a_cache_without_logits_and_head(tmp_path: Path) -> None:
    write(tmp_path / "x.cache", "train", np.ones((3, 2)), [0, 1, 0])
    cache = FeatureCache(tmp_path / "x.cache")
    assert columns_of(cache["train"]).keys() == {"features", "labels", "index", "sample_id", "status"}
    assert save_head(cache, tmp_path) == []


def test_views_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "x.cache", "train", np.ones((4, 2)), [0, 1, 0, 1], views=2)
    np.testing.assert_array_equal(columns_of(FeatureCache(tmp_path / "x.cache")["train"])["view"], [0, 0, 1, 1])


def test_the_head_is_the_caches(cache: FeatureCache, tmp_path: Path) -> None:
    assert save_head(cache, tmp_path) == [tmp_path / "head.safetensors"]
    assert (tmp_path / "head.safetensors").read_bytes() == (cache.path / "head.safetensors").read_bytes()


def test_a_head_of_another_cache_is_not_passed_on(cache: FeatureCache, tmp_path: Path) -> None:
    file = cache.path / "head.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(ValueError, match="not the head of this cache"):
        save_head(FeatureCache(cache.path), tmp_path)
    assert not (tmp_path / "head.safetensors").exists()
