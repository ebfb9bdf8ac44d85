"""Blocks whose number nobody knows become the cache that one array would have become, in bounded memory."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featurecache import FeatureCache, write
from featurecache.writing.spool import Spool

N, D, K = 9, 3, 4
FEATURES = np.arange(N * D, dtype=np.float32).reshape(N, D)
LABELS = np.array([0, 1, 2, 3, -1, 0, 1, 2, 3])
LOGITS = np.arange(N * K, dtype=np.float32).reshape(N, K)
NAMES = [f"bild-ä-{'x' * i}" for i in range(N)]
WHOLE: dict[str, Any] = {"features": FEATURES, "labels": LABELS, "logits": LOGITS, "sample_id": NAMES}


@pytest.fixture(scope="module", autouse=True)
def unflushed() -> Iterator[None]:
    """No wait for the disk: hundreds of small caches are written here."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "fdatasync"):
            patch.setattr(f"os.{name}", lambda file: None, raising=False)
        yield


def cut(*cuts: int, keys: Any = WHOLE) -> Iterator[dict[str, Any]]:
    """The rows in blocks that end at these places."""
    for start, stop in zip((0, *cuts), (*cuts, N), strict=True):
        yield {name: WHOLE[name][start:stop] for name in keys}


def names_in(folder: Path) -> list[str]:
    """Every file under a folder."""
    return [path.name for path in folder.rglob("*") if path.is_file()]


@given(st.lists(st.integers(0, N), max_size=4), st.booleans(), st.booleans(), st.sampled_from([1, 3]))
def test_blocks_give_the_same_bytes_as_arrays(
    tmp_path_factory: pytest.TempPathFactory, tree: Any, cuts: list[int], logits: bool, named: bool, views: int
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    keys = ["features", "labels", *["logits"] * logits, *["sample_id"] * named]
    write(folder / "blocks", "train", cut(*sorted(cuts), keys=keys), views=views)
    arrays = {"logits": LOGITS if logits else None, "sample_ids": NAMES if named else None}
    write(folder / "arrays", "train", FEATURES, LABELS, **arrays, views=views)
    assert tree(folder / "blocks") == tree(folder / "arrays")
    FeatureCache(folder / "blocks", verify=True)


def test_blocks_may_be_of_any_kind(tmp_path: Path) -> None:
    kinds: list[dict[str, Any]] = [
        {"features": torch.tensor(FEATURES[:2]).bfloat16(), "labels": torch.tensor(LABELS[:2])},
        {"features": FEATURES[2:4].tolist(), "labels": LABELS[2:4].tolist(), "logits": None},
        {"features": np.asfortranarray(FEATURES[4:6].astype(">f8")), "labels": LABELS[4:6].astype(">i2")},
        {"features": FEATURES[6:][::-1][::-1], "labels": LABELS[6:].astype(np.uint8)},
    ]
    write(tmp_path, "val", iter(kinds), class_names=list("abcd"), head=(torch.ones(K, D), torch.ones(K)))
    cache = FeatureCache(tmp_path, verify=True)
    assert np.array_equal(cache["val"].features, FEATURES)
    assert cache["val"].labels.tolist() == LABELS.tolist()
    assert cache["val"].sample_id.tolist() == [str(i) for i in range(N)]


GOOD = {"features": FEATURES[:2], "labels": LABELS[:2]}
NAN, LARGE = FEATURES[:2].copy(), FEATURES[:2].copy()
NAN[1, 2], LARGE[0, 1] = np.nan, 1e5
BAD: dict[str, tuple[Any, list[str]]] = {
    "a pair": ((FEATURES, LABELS), ["tuple", "mapping"]),
    "nothing": (None, ["NoneType"]),
    "empty": ({}, ["nothing"]),
    "no labels": ({"features": FEATURES}, ["features", "expected features, labels"]),
    "labels that are none": ({"features": FEATURES, "labels": None}, ["expected features, labels"]),
    "no features": ({"labels": LABELS}, ["labels"]),
    "an unknown column": ({**GOOD, "weights": LABELS[:2]}, ["weights"]),
    "a column without a name": ({**GOOD, 3: LABELS[:2]}, ["3"]),
    "logits that the first had not": ({**GOOD, "logits": LOGITS[:2]}, ["logits"]),
    "names that the first had not": ({**GOOD, "sample_id": ["a", "b"]}, ["sample_id"]),
    "fewer labels": ({"features": FEATURES[:2], "labels": LABELS[:1]}, ["(2, 3)", "(1, 3)"]),
    "float labels": ({"features": FEATURES[:2], "labels": [0.0, 1.0]}, ["float64"]),
    "a negative label": ({"features": FEATURES[:2], "labels": [0, -2]}, ["-2"]),
    "a huge label": ({"features": FEATURES[:2], "labels": [0, 10**9]}, ["1000000000"]),
    "another width": ({"features": FEATURES[:2, :2], "labels": LABELS[:2]}, ["(2, 2)", "(2, 3)"]),
    "integer features": ({"features": FEATURES[:2].astype(int), "labels": LABELS[:2]}, ["int64"]),
    "flat features": ({"features": FEATURES[0], "labels": LABELS[:3]}, ["(3,)"]),
    "ragged features": ({"features": [[1.0], [1.0, 2.0]], "labels": LABELS[:2]}, []),
    "text": ({"features": "abc", "labels": LABELS[:2]}, ["features"]),
    "nan": ({"features": NAN, "labels": LABELS[:2]}, ["'3'", "nan"]),
    "too large for float16": ({"features": LARGE, "labels": LABELS[:2]}, ["'2'", "100000", "--dtype float32"]),
}


@pytest.mark.parametrize(("block", "parts"), BAD.values(), ids=BAD.keys())
def test_a_bad_block_is_named_by_its_number(block: Any, parts: list[str], tmp_path: Path, refused: Any) -> None:
    write(tmp_path / "old", "val", FEATURES, LABELS)
    with refused("block 1: ", *parts):
        write(tmp_path / "new", "train", iter([GOOD, block, GOOD]))
    with refused("block 1: ", *parts):
        write(tmp_path / "old", "train", iter([GOOD, block, GOOD]))
    assert sorted(names_in(tmp_path)) == ["00000.h5", "cache.json"]
    assert list(FeatureCache(tmp_path / "old", verify=True)) == ["val"]


BAD_WITH_ALL: dict[str, tuple[dict[str, Any], list[str]]] = {
    "fewer names": ({"sample_id": ["a"]}, ["1 sample ids", "2 labels"]),
    "names as bytes": ({"sample_id": np.array([b"a", b"b"])}, ["sample ids", "text"]),
    "numbers as names": ({"sample_id": np.arange(2)}, ["sample ids", "text"]),
    "a name that ends in zero": ({"sample_id": ["a", "b\0"]}, ["sample id", "zero"]),
    "a name too long": ({"sample_id": ["a", "b" * 5000]}, ["4096"]),
    "logits of another width": ({"logits": LOGITS[:2, :3]}, ["logits", "(2, 3)", "(2, 4)"]),
    "fewer logits": ({"logits": LOGITS[:1]}, ["logits", "(1, 4)"]),
    "logits of text": ({"logits": [["a"] * K] * 2}, ["logits"]),
    "infinite logits": ({"logits": np.full((2, K), np.inf), "sample_id": ["a", "b"]}, ["logits", "'a'", "inf"]),
}


@pytest.mark.parametrize(("entries", "parts"), BAD_WITH_ALL.values(), ids=BAD_WITH_ALL.keys())
def test_bad_logits_and_names_are_named_too(
    entries: dict[str, Any], parts: list[str], tmp_path: Path, refused: Any
) -> None:
    good = {name: values[:2] for name, values in WHOLE.items()}
    with refused("block 1: ", *parts):
        write(tmp_path / "c", "train", iter([good, {**good, **entries}]))
    assert names_in(tmp_path) == []


def test_blocks_without_a_row_are_passed_over_unless_all_are(tmp_path: Path, refused: Any, tree: Any) -> None:
    empty = {"features": np.zeros((0, D)), "labels": np.zeros(0, int)}
    for blocks in ([], [empty], [empty, empty]):
        with refused("no block"):
            write(tmp_path / "c", "train", iter(blocks))
    write(tmp_path / "c", "train", iter([empty, GOOD, empty]))
    write(tmp_path / "d", "train", iter([GOOD]))
    assert tree(tmp_path / "c") == tree(tmp_path / "d")


@pytest.mark.parametrize("more", [{"labels": LABELS}, {"logits": LOGITS}, {"sample_ids": NAMES}], ids=str)
def test_columns_beside_the_blocks_are_refused(more: dict[str, Any], tmp_path: Path, refused: Any) -> None:
    with refused("in the blocks"):
        write(tmp_path, "train", cut(), **more)


def test_a_label_beyond_the_head_is_found_when_all_have_come(tmp_path: Path, refused: Any) -> None:
    with refused("label 3", "0..2"):
        write(tmp_path / "c", "train", cut(4, keys=["features", "labels"]), head=(torch.ones(3, D), torch.ones(3)))
    assert names_in(tmp_path) == []


def test_what_goes_wrong_in_the_iterator_is_the_callers(tmp_path: Path) -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield GOOD
        raise LookupError("no such page")

    for path in (tmp_path, tmp_path / "c"):
        with pytest.raises(LookupError, match="no such page"):
            write(path, "train", broken())
    assert names_in(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_while_the_blocks_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_folder: Path) -> BinaryIO:
        return Path("/dev/full").open("r+b", buffering=0)

    monkeypatch.setattr("featurecache.writing.spool._unnamed", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "c", "train", cut(3, 5))
    assert names_in(tmp_path) == []


def test_the_temporary_files_have_no_name_and_are_gone(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    with Spool(tmp_path / "a" / "b" / "c", "float16") as spool:
        spool.fill(cut(4))
        assert names_in(tmp_path) == []
        assert np.array_equal(spool.features, FEATURES)
        assert spool.features.dtype == np.float16
        assert spool.logits is not None
        assert np.array_equal(spool.logits, LOGITS)
        assert spool.labels.tolist() == LABELS.tolist()
        assert [name.decode() for name in spool.ids(1)[0:N].tolist()] == NAMES
    assert names_in(tmp_path) == []
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    rows, width, blocks = 256, 1024, 48  # 1 MiB a block, 48 MiB in all

    def come() -> Iterator[dict[str, Any]]:
        for number in range(blocks):
            features = np.full((rows, width), number, np.float32)
            yield {"features": features, "labels": np.full(rows, number), "logits": features[:, :blocks]}

    tracemalloc.start()
    try:
        write(tmp_path, "train", come(), dtype="float32")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20
    split = FeatureCache(tmp_path)["train"]
    assert split.features.shape == (rows * blocks, width)
    assert np.array_equal(split.features[::rows, 0], np.arange(blocks))
    assert np.array_equal(split.labels, np.arange(rows * blocks) // rows)
