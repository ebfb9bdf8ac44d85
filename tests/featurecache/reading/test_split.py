"""A split is its columns as arrays and its rows as a data set, over one file or several, in any process."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset

from featurecache import FeatureCache, Split, write
from featurecache.reading.sharded import ShardedArray

N, D, K = 10, 3, 4
FEATURES = np.arange(N * D, dtype=np.float32).reshape(N, D)
LABELS = np.array([0, 1, 2, 3, -1, 0, 1, 1, 2, 0])
LOGITS = np.arange(N * K, dtype=np.float32).reshape(N, K)
NAMES = ["a.jpg", "b/ü.jpg", "", *"cdef", "x" * 40, "g", "h"]


def make(path: Path, *, shards: int = 1, **more: Any) -> Path:
    """A cache whose split test is one file or several."""
    with pytest.MonkeyPatch.context() as patch:
        if shards > 1:
            patch.setattr("featurecache.plan.SHARD_BYTES", 1)
            patch.setattr("featurecache.writing.table.BLOCK_ROWS", -(-N // shards))
        write(path, "test", FEATURES, LABELS, **{"logits": LOGITS, "sample_ids": NAMES, **more})
    return path


@pytest.fixture(scope="module", params=[1, 3])
def split(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Split:
    """A split of one file and of three, not to be changed."""
    return FeatureCache(make(tmp_path_factory.mktemp("split") / "c", shards=request.param))["test"]


def test_it_gives_its_columns(split: Split) -> None:
    assert (split.name, split.seen, split.views, len(split), split.num_classes) == ("test", False, 1, N, K)
    assert np.array_equal(split.features, FEATURES)
    assert np.array_equal(split.logits, LOGITS)
    assert split.stores_logits
    assert split.labels.tolist() == LABELS.tolist()
    assert split.index.tolist() == list(range(N))
    assert split.status.tolist() == [0] * N
    assert split.view.tolist() == [0] * N
    assert split.sample_id.tolist() == NAMES
    kinds = [values.dtype.str for values in (split.labels, split.index, split.status, split.view)]
    assert kinds == ["<i8", "<i8", "|u1", "<i4"]
    assert split.bounds == (0, N) or split.bounds == (0, 4, 8, N)
    assert split.nbytes == sum(shard.path.stat().st_size for shard in split.shards)
    assert repr(split) == "Split('test', rows=10, features=(10, 3), seen=False)"


def test_the_features_are_an_array_of_float16(split: Split) -> None:
    assert (split.features.shape, split.features.ndim, split.features.dtype) == ((N, D), 2, np.float16)
    assert isinstance(split.features, np.ndarray if len(split.shards) == 1 else ShardedArray)


ROWS = st.one_of(
    st.slices(N),
    st.integers(-N, N - 1),
    st.lists(st.integers(-N, N - 1), min_size=1, max_size=15),
    st.lists(st.booleans(), min_size=N, max_size=N).map(np.array),
)


@given(ROWS)
def test_rows_are_taken_as_from_an_array(split: Split, rows: Any) -> None:
    wanted = FEATURES.astype(np.float16)[rows]
    found = split.features[rows]
    assert found.dtype == np.float16
    assert np.array_equal(found, wanted)
    assert np.array_equal(split.logits[rows], LOGITS[rows])


@given(st.integers(0, N), st.integers(0, N))
def test_nothing_is_copied_where_the_rows_lie_in_one_file(split: Split, start: int, stop: int) -> None:
    found = split.features[start:stop]
    shards = [
        shard
        for shard, low, high in zip(split.shards, split.bounds[:-1], split.bounds[1:], strict=True)
        if start < stop and start < high and stop > low
    ]
    shares = [np.shares_memory(found, shard.column("features")) for shard in split.shards]
    assert sum(shares) == (len(shards) == 1)


def test_a_column_is_read_into_memory(split: Split) -> None:
    for name in ("features", "logits", "labels", "index", "status"):
        column = split.read(name)
        assert column.flags.owndata or column.base.flags.owndata
        assert np.array_equal(column, getattr(split, name))
        assert column.dtype == np.asarray(getattr(split, name)).dtype
    assert [name.decode() for name in split.read("sample_id").tolist()] == NAMES


@pytest.mark.parametrize("name", ["crc", "feature", "", "x" * 999])
def test_a_column_that_is_not_there(name: str, split: Split, refused: Any) -> None:
    with refused(f"no column '{name[:80]}'", "features, logits, labels, index, sample_id, status"):
        split.read(name)
    with refused("'test'", "no view"):
        split.read("view")


def test_files_may_differ_in_the_width_of_their_names(tmp_path: Path) -> None:
    # As in an extraction by several processes, each of which knows its own names only.
    make(tmp_path / "c", shards=3, sample_ids=None)
    make(tmp_path / "wide", shards=3)
    split = FeatureCache(tmp_path / "c")["test"]
    split.shards[1] = FeatureCache(tmp_path / "wide")["test"].shards[1]
    wanted = [*"0123", *NAMES[4:8], "8", "9"]
    assert split.sample_id.tolist() == wanted
    assert [name.decode() for name in split.read("sample_id").tolist()] == wanted


def test_logits_that_are_not_stored(tmp_path: Path, refused: Any) -> None:
    split = FeatureCache(make(tmp_path / "c", logits=None))["test"]
    assert not split.stores_logits
    for read in (lambda: split.logits, lambda: split.read("logits")):
        with refused("'test'", "no logits", "head(split.features)"):
            read()


def test_views_lie_one_after_the_other(tmp_path: Path) -> None:
    write(tmp_path, "train", FEATURES, [0, 1, 2, -1, 0] * 2, views=2, dtype="float32")
    cache = FeatureCache(tmp_path, verify=True)
    train = cache["train"]
    assert (train.views, len(train)) == (2, N)
    assert train.view.tolist() == [0] * 5 + [1] * 5
    assert train.read("view").tolist() == train.view.tolist()
    assert train.sample_id.tolist() == list("01234") * 2
    assert train.features.dtype == np.float32
    assert cache.counts.tolist() == [2, 1, 1]  # of images
    assert cache.describe()["splits"]["train"]["views"] == 2


def test_labels_that_are_no_classes_are_refused_when_they_are_asked_for(tmp_path: Path, refused: Any) -> None:
    split = FeatureCache(make(tmp_path / "c", shards=3))["test"]
    with split.shards[1].path.open("r+b") as file:
        file.seek(split.shards[1].header.columns["labels"].offset + 8)
        file.write(K.to_bytes(8, "little"))
    assert np.array_equal(split.features, FEATURES)
    with refused(f"label {K} in row 5", f"-1..{K - 1}", "rebalance verify"):
        _ = split.labels


def batches(split: Any, **more: Any) -> list[tuple[list[list[float]], list[int]]]:
    """What a DataLoader gives."""
    loader = DataLoader(split, batch_size=4, **more)
    return [(features.tolist(), labels.tolist()) for features, labels in loader]


WANTED = [(FEATURES[i : i + 4].tolist(), LABELS[i : i + 4].tolist()) for i in (0, 4, 8)]


class OneByOne(torch.utils.data.Dataset[Any]):
    """A data set that hides that several rows may be asked for at once."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int) -> Any:
        return self.split[row]


def test_it_is_a_data_set(split: Split) -> None:
    features, label = split[-1]
    assert (features.tolist(), features.dtype, label) == (FEATURES[-1].tolist(), torch.float16, 0)
    features.zero_()
    assert split[-1][0].tolist() == FEATURES[-1].tolist()
    assert batches(split) == batches(OneByOne(split)) == batches(Subset(split, range(N))) == WANTED
    assert [label for _, label in split] == LABELS.tolist()
    shuffled = DataLoader(split, batch_size=3, shuffle=True)
    assert sorted(value for _, labels in shuffled for value in labels.tolist()) == sorted(LABELS.tolist())
    for row in (N, -N - 1):
        with pytest.raises(IndexError):
            split[row]


# Newer Pythons warn of every fork where threads are; here the children only read.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_forked_workers_read_the_same_rows(split: Split) -> None:
    assert split.features[3][0] == 9  # opened and touched before the workers are
    assert batches(split, num_workers=2, multiprocessing_context="fork") == WANTED


def test_spawned_workers_read_the_same_rows(tmp_path: Path) -> None:
    split = FeatureCache(make(tmp_path / "c", shards=3))["test"]
    assert split.features[3][0] == 9
    assert batches(split, num_workers=2, multiprocessing_context="spawn") == WANTED


def test_another_process_opens_it_by_its_path(tmp_path: Path) -> None:
    split = FeatureCache(make(tmp_path / "c"))["test"]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        features, name = pool.apply(Split.read, (split, "features")), pool.apply(repr, (split,))
    assert np.array_equal(features, FEATURES)
    assert name == repr(split)


def test_what_is_pickled_is_the_path(split: Split, tmp_path: Path) -> None:
    _ = split.features, split.labels, split.sample_id
    data = pickle.dumps(split)
    assert len(data) < 500
    copy = pickle.loads(data)
    assert np.array_equal(copy.features, FEATURES)
    assert (copy.name, len(copy)) == ("test", N)
    moved = shutil.copytree(split.shards[0].path.parent.parent, tmp_path / "moved")
    gone = pickle.dumps(FeatureCache(moved)["test"])
    shutil.rmtree(moved)
    with pytest.raises(FileNotFoundError, match="no such cache"):
        pickle.loads(gone)


def test_a_cache_is_pickled_by_its_path_too(tmp_path: Path) -> None:
    cache = FeatureCache(make(tmp_path / "c"), verify=True)
    data = pickle.dumps(cache)
    assert len(data) < 500
    assert np.array_equal(pickle.loads(data)["test"].logits, LOGITS)


def test_blocks_hold_every_row_once(split: Split) -> None:
    for rows in (1, 3, 4, N, 99):
        blocks: Iterator[tuple[torch.Tensor, torch.Tensor]] = split.blocks(rows)
        found = list(blocks)
        assert [len(labels) for _, labels in found] == [rows] * (N // rows) + [N % rows] * (N % rows > 0)
        assert torch.cat([features for features, _ in found]).tolist() == FEATURES.tolist()
        assert torch.cat([labels for _, labels in found]).tolist() == LABELS.tolist()
        assert {features.dtype for features, _ in found} == {torch.float16}


def test_the_rows_of_the_next_block_are_announced_to_their_files(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []

    def keep(shard: Any, name: str, start: int, stop: int) -> None:
        assert name == "features"
        told.append((shard.path.name, start, stop))

    monkeypatch.setattr("featurecache.reading.mapped.MappedShard.will_need", keep)
    list(split.blocks(3))
    if len(split.shards) == 1:
        assert told == [("00000.h5", 3, 6), ("00000.h5", 6, 9), ("00000.h5", 9, 10)]
    else:  # of rows 0..3, 4..7 and 8..9
        assert told == [
            *[("00000.h5", 3, 4), ("00001.h5", 0, 2)],
            *[("00001.h5", 2, 4), ("00002.h5", 0, 1)],
            ("00002.h5", 1, 2),
        ]


def test_blocks_of_no_rows_are_refused(split: Split, refused: Any) -> None:
    for rows in (0, -1):
        with refused(str(rows), "1 or more"):
            split.blocks(rows)
