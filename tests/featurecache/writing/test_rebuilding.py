"""cache.json is made again from the shards, or nothing is written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featurecache import FeatureCache, extract, write
from featurecache.writing.rebuilding import rebuild


def make(cache: Path, *splits: str, seed: int = 0) -> Path:
    """A cache with a head and these splits."""
    random = np.random.default_rng(seed)
    weight = random.standard_normal((3, 2)).astype(np.float32)
    for name in splits:
        features = random.standard_normal((6, 2)).astype(np.float32)
        write(cache, name, features, np.arange(6) % 3, head=(torch.from_numpy(weight), torch.zeros(3)))
    return cache


@pytest.mark.parametrize("damage", [Path.unlink, Path.touch, lambda path: path.write_bytes(b"{]")])
def test_the_same_bytes_come_back(damage: Any, tmp_path: Path) -> None:
    cache = make(tmp_path / "c", "train", "val", "test", "x")
    file = cache / "cache.json"
    before = file.read_bytes()
    damage(file)
    assert list(rebuild(cache).splits) == ["train", "val", "test", "x"]
    assert file.read_bytes() == before
    FeatureCache(cache, verify=True)


def test_one_shard_of_several_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featurecache.plan.SHARD_BYTES", 1)
    monkeypatch.setattr("featurecache.writing.table.BLOCK_ROWS", 2)
    cache = make(tmp_path / "c", "train")
    assert len(list(cache.glob("train/*.h5"))) == 3
    before = (cache / "cache.json").read_bytes()
    for name in ("00000.h5", "00002.h5"):
        (cache / "train" / name).unlink()
    rebuild(cache)
    assert (cache / "cache.json").read_bytes() == before


def test_an_unfinished_shard_knows_it_too(pictures: Any, model: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        extract(model, {"train": pictures(9, breaks_at=5)}, tmp_path / "c", batch_size=2)
    before = (tmp_path / "c" / "cache.json").read_bytes()
    (tmp_path / "c" / "cache.json").unlink()
    rebuild(tmp_path / "c")
    assert (tmp_path / "c" / "cache.json").read_bytes() == before
    assert extract(model, {"train": pictures(9)}, tmp_path / "c", batch_size=2).written == {"train": 5}


def test_splits_that_brought_classes(tmp_path: Path) -> None:
    for name, labels in (("train", [0, 1]), ("val", [0, 4])):
        write(tmp_path / "c", name, np.ones((2, 3), np.float32), np.array(labels))
    before = (tmp_path / "c" / "cache.json").read_bytes()
    (tmp_path / "c" / "cache.json").unlink()
    assert rebuild(tmp_path / "c").classes == 5
    assert (tmp_path / "c" / "cache.json").read_bytes() == before


@pytest.mark.parametrize("what", ["another cache", "another split", "damaged", "nothing", "no folder"])
def test_nothing_is_written_where_the_shards_do_not_agree(what: str, tmp_path: Path, refused: Any, tree: Any) -> None:
    cache = make(tmp_path / "c", "train", "val")
    (cache / "cache.json").unlink()
    train, val = cache / "train" / "00000.h5", cache / "val" / "00000.h5"
    if what == "another cache":
        shutil.copy(make(tmp_path / "d", "val", seed=1) / "val" / "00000.h5", val)
        parts = ["val", "another extraction"]
    elif what == "another split":
        shutil.copy(train, val)
        parts = ["val", "a shard of split 'train'"]
    elif what == "damaged":
        val.write_bytes(val.read_bytes()[:5000])
        parts = ["val", "bytes"]
    else:
        shutil.rmtree(cache)
        if what == "nothing":
            cache.mkdir()
        parts = ["no shard"] if what == "nothing" else ["no such folder"]
    before = tree(tmp_path)
    with refused(*parts, error=FileNotFoundError if what == "no folder" else ValueError):
        rebuild(cache)
    assert tree(tmp_path) == before
