"""Rows in arrays: cut into blocks and files, converted a block at a time, never held twice."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featurecache import FeatureCache, write
from featurecache.plan import CachePlan, SplitPlan
from featurecache.writing.table import BLOCK_BYTES, BLOCK_ROWS, Table, check_views, table

N, D, K = 6, 3, 4
FEATURES = np.arange(N * D, dtype=np.float32).reshape(N, D)
LABELS = np.array([0, 1, 2, 3, -1, 0])


def rows_of(features: Any, **more: Any) -> Table:
    """The table of these features, all of class 0."""
    given_rows = {"labels": np.zeros(len(features), int), "logits": None, "sample_ids": None, "views": 1}
    return table(features, **{**given_rows, "dtype": "float16", **more})


@given(st.integers(1, 2000), st.integers(1, 4000), st.sampled_from(["float16", "float32"]))
def test_a_block_is_of_about_four_mebibytes(rows: int, width: int, dtype: str) -> None:
    features = np.broadcast_to(np.float32(0), (rows, width))  # of one number
    made = rows_of(features, dtype=dtype)
    plan = made.plan(seen=False)
    columns = made.columns(rows, plan.batch_size)
    row_bytes = sum(column.nbytes for name, column in columns.items() if name != "crc") / rows
    assert 1 <= plan.batch_size <= BLOCK_ROWS
    assert plan.batch_size == 1 or plan.batch_size * row_bytes <= BLOCK_BYTES
    assert plan.batch_size == BLOCK_ROWS or (plan.batch_size + 1) * row_bytes > BLOCK_BYTES
    assert plan.bounds == (0, rows)
    assert columns["crc"].shape == (-(-rows // plan.batch_size), 5)


def test_large_tables_become_several_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featurecache.plan.SHARD_BYTES", 2**22)
    plan = rows_of(np.broadcast_to(np.float32(0), (5000, 2000))).plan(seen=True)
    assert plan.bounds[0] == 0
    assert plan.bounds[-1] == 5000
    assert len(plan.bounds) == 6
    assert all(bound % plan.batch_size == 0 for bound in plan.bounds[:-1])


def test_the_data_are_known_by_their_names_labels_and_values() -> None:
    one = rows_of(FEATURES, sample_ids=list("abcdef")).plan(seen=True)
    assert one.data == rows_of(FEATURES.copy(), sample_ids=list("abcdef")).plan(seen=True).data
    assert one.data != rows_of(FEATURES + 1, sample_ids=list("abcdef")).plan(seen=True).data
    assert one.data != rows_of(FEATURES, sample_ids=list("abcdeg")).plan(seen=True).data
    assert one.data != rows_of(FEATURES, sample_ids=list("abcdef"), labels=LABELS).plan(seen=True).data
    assert (one.seen, one.made_with) == (True, None)


def test_filling_writes_every_block_of_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featurecache.writing.table.BLOCK_ROWS", 1)
    monkeypatch.setattr("featurecache.plan.SHARD_BYTES", 100)
    logits = np.ones((N, K), np.float32)
    made = table(FEATURES, LABELS, logits, list("abcdef"), "float16", 2)
    entry = made.plan(seen=False)
    assert entry == SplitPlan(N, 1, (0, 2, 4, 6), False, entry.data, 2)
    specification = {"features": {"dtype": "float16", "width": D}, "logits": "float32", "head": None}
    plan = CachePlan(specification, K, None, {"val": entry})
    made.fill(tmp_path, plan, "val")
    plan.save(tmp_path)
    split = FeatureCache(tmp_path, verify=True)["val"]
    assert np.array_equal(split.features, FEATURES)
    assert np.array_equal(split.logits, logits)
    assert split.view.tolist() == [0, 0, 0, 1, 1, 1]
    assert split.sample_id.tolist() == list("abcdef")
    assert [shard.header.blocks for shard in split.shards] == [2, 2, 2]


@pytest.mark.parametrize("views", [1, 2, 3, 6])
def test_views_are_named_after_their_image(views: int, tmp_path: Path) -> None:
    write(tmp_path, "train", FEATURES, LABELS, views=views)
    split = FeatureCache(tmp_path, verify=True)["train"]
    images = N // views
    assert split.view.tolist() == [row // images for row in range(N)]
    assert split.sample_id.tolist() == [str(row % images) for row in range(N)]
    assert len(FeatureCache(tmp_path).counts) == K
    assert FeatureCache(tmp_path).counts.sum() == (LABELS[:images] >= 0).sum()


@pytest.mark.parametrize("views", [0, -1, 4, 7])
def test_rows_that_are_no_whole_views_are_refused(views: int, tmp_path: Path, refused: Any, tree: Any) -> None:
    with refused(f"{N} rows of {views} views"):
        check_views(N, views)
    for features in (FEATURES, iter([{"features": FEATURES, "labels": LABELS}])):
        with refused(f"{N} rows of {views} views"):
            write(tmp_path, "train", features, None if features is not FEATURES else LABELS, views=views)
    assert tree(tmp_path) == {}


def test_a_memory_map_is_read_a_block_at_a_time(tmp_path: Path) -> None:
    count, width = 4096, 2048  # 32 MiB
    file = tmp_path / "features.bin"
    source = np.memmap(file, np.float32, "w+", shape=(count, width))
    source[:] = np.arange(count)[:, None] % 1000
    tracemalloc.start()
    try:
        write(tmp_path / "c", "train", source, np.zeros(count, int), dtype="float32")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * BLOCK_BYTES
    split = FeatureCache(tmp_path / "c", verify=True)["train"]
    assert np.array_equal(split.features, source)


def test_tensors_of_half_the_width(tmp_path: Path) -> None:
    for kind in (torch.bfloat16, torch.float16, torch.float64):
        values = torch.randn(N, D, generator=torch.Generator().manual_seed(0)).to(kind)
        write(tmp_path / str(kind), "train", values, torch.from_numpy(LABELS), dtype="float32")
        split = FeatureCache(tmp_path / str(kind))["train"]
        assert torch.equal(torch.from_numpy(np.array(split.features)), values.float())


@pytest.mark.parametrize(
    ("names", "part"),
    [([1, 2, 3, 4, 5, 6], "hold 1"), ([b"a", *"bcdef"], "b'a'"), ([None, *"bcdef"], "None"), (np.arange(N), "0")],
    ids=["numbers", "bytes", "none", "an array of numbers"],
)
def test_names_that_are_no_text_are_refused(names: Any, part: str, tmp_path: Path, refused: Any) -> None:
    with refused("sample ids", part, "text"):
        write(tmp_path, "train", FEATURES, LABELS, sample_ids=names)


def test_labels_are_needed(tmp_path: Path, refused: Any) -> None:
    with refused("no labels"):
        write(tmp_path, "train", FEATURES)
