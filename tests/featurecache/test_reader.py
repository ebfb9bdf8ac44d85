"""Reading: what is there is given as it is, what is damaged or another's is refused in one line."""

from __future__ import annotations

import builtins
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featurecache import FeatureCache, write

N, D, K = 6, 3, 4
FEATURES = np.arange(N * D, dtype=np.float32).reshape(N, D)
LABELS = np.array([0, 1, 2, 3, -1, 0])
LOGITS = np.arange(N * K, dtype=np.float32).reshape(N, K)
HEAD = (torch.arange(12.0).reshape(K, D), torch.arange(4.0))


def make(path: Path, *, shards: int = 1, head: Any = HEAD, shift: float = 0) -> Path:
    """A cache with train and val of six rows each in one or several shards."""
    with pytest.MonkeyPatch.context() as patch:
        if shards > 1:
            patch.setattr("featurecache.plan.SHARD_BYTES", 1)
            patch.setattr("featurecache.writing.table.BLOCK_ROWS", -(-N // shards))
        write(path, "train", FEATURES + shift, LABELS, logits=LOGITS, head=head, class_names=list("abcd"))
        write(path, "val", FEATURES + 50, LABELS[::-1], logits=LOGITS, head=head)
    return path


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache to read and never to change."""
    return make(tmp_path_factory.mktemp("sample") / "c")


@pytest.fixture(params=[1, 3])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A cache of one and of three shards a split."""
    return make(tmp_path / "c", shards=request.param)


def test_a_cache_is_a_mapping_of_its_splits(cache: Path) -> None:
    opened = FeatureCache(cache)
    assert list(opened) == ["train", "val"]
    assert len(opened) == 2
    assert "val" in opened
    assert "test" not in opened
    assert opened.get("test") is None
    assert opened["train"] is opened["train"]
    assert opened.num_classes == K
    assert opened.class_names == tuple("abcd")
    assert opened.counts.tolist() == [2, 1, 1, 1]
    assert opened.has_head
    assert torch.equal(opened.head[0], HEAD[0])
    assert opened.hash == FeatureCache(str(cache)).hash
    assert str(cache) in repr(opened)


def test_writing_to_what_was_read_changes_no_file(cache: Path, tree: Any, recwarn: pytest.WarningsRecorder) -> None:
    before = tree(cache)
    split = FeatureCache(cache)["train"]
    for column in (split.features, split.logits):
        part = column[:2]
        torch.from_numpy(part).zero_()
        assert not part.any()
    split.labels[:] = 7
    FeatureCache(cache).head[0].zero_()
    assert tree(cache) == before
    assert np.array_equal(FeatureCache(cache)["train"].features, FEATURES)
    assert not recwarn


def test_describe_is_plain_json(cache: Path) -> None:
    said = FeatureCache(cache).describe()
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert said["classes"] == K
    assert said["has_head"] is True
    files = list((cache / "train").iterdir())
    assert said["splits"]["train"] == {
        "rows": N,
        "views": 1,
        "seen": True,
        "made_with": None,
        "files": len(files),
        "missing_files": 0,
        "complete": True,
        "features": [N, D],
        "dtype": "float16",
        "logits": [N, K],
        "bytes": sum(file.stat().st_size for file in files),
        "unlabelled": 1,
        "unreadable": 0,
        "class_counts": [2, 1, 1, 1],
    }


def test_a_cache_without_head_and_logits(tmp_path: Path, refused: Any) -> None:
    write(tmp_path, "train", FEATURES, LABELS)
    cache = FeatureCache(tmp_path)
    assert not cache.has_head
    with refused("no head"):
        _ = cache.head
    with refused("'train'", "no logits"):
        _ = cache["train"].logits
    assert cache.describe()["splits"]["train"]["logits"] is None
    assert cache.class_names is None


def test_counts_need_the_split_called_train(tmp_path: Path, refused: Any) -> None:
    write(tmp_path, "val", FEATURES, LABELS)
    with refused("'train'", "val"):
        _ = FeatureCache(tmp_path).counts


def test_an_unknown_split_names_those_that_are_there(sample: Path, refused: Any) -> None:
    for error in (KeyError, ValueError):
        with refused(str(sample), "'test'", "train, val", error=error):
            FeatureCache(sample)["test"]
    with refused("no split"):
        FeatureCache(sample)["x" * 5000]


def test_a_missing_folder_a_file_and_a_folder_that_is_no_cache(tmp_path: Path, refused: Any) -> None:
    with refused(str(tmp_path / "gone"), error=FileNotFoundError):
        FeatureCache(tmp_path / "gone")
    with refused("without cache.json"):
        FeatureCache(tmp_path)
    (tmp_path / "file").touch()
    with refused("a file"):
        FeatureCache(tmp_path / "file")


def test_an_unfinished_split_is_refused_and_described(cache: Path, refused: Any) -> None:
    last = sorted((cache / "val").iterdir())[-1]
    last.rename(last.with_name(f"{last.name}.part"))
    opened = FeatureCache(cache)
    with refused(str(last), "'val'", "incomplete", "again"):
        opened["val"]
    assert np.array_equal(opened["train"].features, FEATURES)
    said = opened.describe()["splits"]["val"]
    assert (said["complete"], said["missing_files"], said["rows"]) == (False, 1, N)
    assert "val" in opened  # it is one of the splits, as list(opened) says


def everything(path: Path) -> list[Any]:
    """All that a cache gives."""
    opened = FeatureCache(path)
    found: list[Any] = [*opened.head, opened.counts, opened.class_names, json.dumps(opened.describe()), repr(opened)]
    for split in opened.values():
        found += [np.asarray(split.features), np.asarray(split.logits), split.labels, split.index, split.status]
        found += [split.sample_id, split.nbytes, len(split), repr(split)]
    return found


def test_reading_opens_nothing_for_writing(cache: Path, monkeypatch: pytest.MonkeyPatch, tree: Any) -> None:
    # Also as root, whom a folder without write permission would not stop.
    low, high = os.open, builtins.open

    def only_read(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        assert flags & os.O_ACCMODE == os.O_RDONLY, path
        assert not flags & (os.O_CREAT | os.O_TRUNC), path
        return low(path, flags, *rest, **named)

    def only_read_too(path: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        assert not set(mode) & set("wax+"), path
        return high(path, mode, *rest, **named)

    before = tree(cache)
    folders = [path for path in (cache, *cache.rglob("*")) if path.is_dir()]
    for path in cache.rglob("*.*"):
        path.chmod(0o444)
    for path in folders:
        path.chmod(0o555)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", only_read)
            patch.setattr(builtins, "open", only_read_too)
            found = everything(cache)
    finally:
        for path in folders:
            path.chmod(0o755)
    assert len(found) == 6 + 2 * 9
    assert tree(cache) == before


def test_reading_calls_no_hdf5(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for opener in ("h5py.h5f.open", "h5py.File"):
        monkeypatch.setattr(opener, None)
    assert everything(cache)


def test_a_cache_is_found_after_a_change_of_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "c", "train", np.ones((3, 2), np.float32), np.zeros(3, int))
    monkeypatch.chdir(tmp_path)
    cache = FeatureCache("c")
    monkeypatch.chdir("/")
    assert cache.complete == ["train"]
    assert len(pickle.loads(pickle.dumps(cache["train"])).features) == 3
