"""A cache from arrays: what goes in comes out, what does not fit is refused and leaves nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from featurecache import FeatureCache, write
from featurecache.shards.lock import BeingWritten
from featurecache.writer import ShardWriter

N, D, K = 6, 3, 4
FEATURES = np.arange(N * D, dtype=np.float32).reshape(N, D)
LABELS = np.array([0, 1, 2, 3, -1, 0])
HEAD = (torch.arange(12.0).reshape(K, D), torch.arange(4.0))


@pytest.fixture(scope="module", autouse=True)
def unflushed() -> Iterator[None]:
    """No wait for the disk: hundreds of small caches are written here."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "fdatasync"):
            patch.setattr(f"os.{name}", lambda file: None, raising=False)
        yield


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of two rows."""
    monkeypatch.setattr("featurecache.plan.SHARD_BYTES", 1)
    monkeypatch.setattr("featurecache.writing.table.BLOCK_ROWS", 2)


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of write with N = 1..7 rows."""
    count, width, classes = draw(st.integers(1, 7)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    dtype = draw(st.sampled_from(["float16", "float32"]))
    value = st.floats(-6e4, 6e4, width=16)
    names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
    return {
        "features": draw(arrays.arrays(np.dtype(dtype), (count, width), elements=value)),
        "labels": draw(arrays.arrays(np.int64, count, elements=st.integers(-1, classes - 1))),
        "logits": draw(st.none() | arrays.arrays(np.float32, (count, classes), elements=value)),
        "sample_ids": draw(st.none() | st.lists(names, min_size=count, max_size=count)),
        "class_names": draw(st.none() | st.lists(names, min_size=classes, max_size=classes)),
        "dtype": dtype,
    }


@given(rows(), st.sampled_from([1, 2, 100]))
def test_what_goes_in_comes_out(
    tmp_path_factory: pytest.TempPathFactory, given_rows: dict[str, Any], block: int
) -> None:
    path = tmp_path_factory.mktemp("c") / "made.cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featurecache.plan.SHARD_BYTES", 1)
        patch.setattr("featurecache.writing.table.BLOCK_ROWS", block)
        write(path, "train", **given_rows)
    split = FeatureCache(path, verify=True)["train"]
    count = len(given_rows["features"])
    assert len(list((path / "train").iterdir())) == -(-count // block)
    assert split.features.dtype == given_rows["features"].dtype
    assert np.array_equal(split.features, given_rows["features"])
    assert np.array_equal(split.labels, given_rows["labels"])
    assert split.index.tolist() == list(range(count))
    assert not split.status.any()
    assert split.sample_id.tolist() == (given_rows["sample_ids"] or [str(i) for i in range(count)])
    assert split.stores_logits == (given_rows["logits"] is not None)
    if split.stores_logits:
        assert np.array_equal(split.logits, given_rows["logits"])
    names = given_rows["class_names"]
    assert FeatureCache(path).class_names == (None if names is None else tuple(names))


@pytest.mark.parametrize(
    "convert",
    [
        torch.tensor,
        np.asarray,
        lambda values: values.tolist(),
        lambda values: torch.tensor(values).requires_grad_() if values.dtype.kind == "f" else torch.tensor(values),
        lambda values: torch.tensor(values).bfloat16() if values.dtype.kind == "f" else torch.tensor(values),
        lambda values: np.asfortranarray(values.astype(">f8" if values.dtype.kind == "f" else ">i4")),
    ],
    ids=["tensor", "array", "list", "gradient", "bfloat16", "foreign"],
)
def test_all_kinds_of_arrays(convert: Callable[[Any], Any], tmp_path: Path) -> None:
    logits = np.arange(N * K, dtype=np.float32).reshape(N, K)
    write(tmp_path, "train", convert(FEATURES), convert(LABELS), logits=convert(logits))
    split = FeatureCache(tmp_path)["train"]
    # All integers up to 23 are exact in half precision and in bfloat16.
    assert np.array_equal(split.features, FEATURES)
    assert np.array_equal(split.logits, logits)
    assert np.array_equal(split.labels, LABELS)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rounding_is_that_of_the_stored_dtype(dtype: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(N, D))
    write(tmp_path, "train", values, LABELS, dtype=dtype)
    assert np.array_equal(FeatureCache(tmp_path)["train"].features, values.astype(dtype))


LINEAR = nn.Linear(D, K)
NO_BIAS = nn.Linear(D, K, bias=False)


@pytest.mark.parametrize(
    ("head", "weight", "bias"),
    [
        (HEAD, *HEAD),
        (LINEAR, LINEAR.weight, LINEAR.bias),
        (NO_BIAS, NO_BIAS.weight, torch.zeros(K)),
        (SimpleNamespace(weight=HEAD[0], bias=HEAD[1]), *HEAD),
        (SimpleNamespace(weight=HEAD[0].half().t().contiguous().t(), bias=None), HEAD[0], torch.zeros(K)),
        ((HEAD[0].numpy(), HEAD[1].numpy()), *HEAD),
    ],
    ids=["tuple", "linear", "no bias", "object", "half", "arrays"],
)
def test_heads(head: Any, weight: torch.Tensor, bias: torch.Tensor, tmp_path: Path) -> None:
    write(tmp_path, "train", FEATURES, LABELS, head=head)
    cache = FeatureCache(tmp_path)
    assert cache.has_head
    assert cache.num_classes == K
    assert torch.equal(cache.head[0], weight)
    assert torch.equal(cache.head[1], bias)
    assert [tensor.dtype for tensor in cache.head] == [torch.float32] * 2


@pytest.mark.parametrize(
    ("split", "seen", "wanted"),
    [("train", None, True), ("val", None, False), ("train", False, False), ("val", True, True)],
)
def test_seen(split: str, seen: bool | None, wanted: bool, tmp_path: Path) -> None:
    write(tmp_path, split, FEATURES, LABELS, seen=seen)
    assert FeatureCache(tmp_path)[split].seen is wanted


def test_several_splits_in_one_cache(tmp_path: Path) -> None:
    write(tmp_path, "train", FEATURES, LABELS, head=HEAD, class_names=list("abcd"))
    write(tmp_path, "val", FEATURES[:2] + 1, LABELS[:2], head=HEAD)
    cache = FeatureCache(tmp_path)
    assert list(cache) == ["train", "val"]
    assert cache.counts.tolist() == [2, 1, 1, 1]
    assert cache.class_names == tuple("abcd")
    assert np.array_equal(cache["val"].features, FEATURES[:2] + 1)


def test_a_cache_without_a_head_grows_its_number_of_classes(tmp_path: Path) -> None:
    write(tmp_path, "train", FEATURES[:2], [0, 1])
    assert FeatureCache(tmp_path).num_classes == 2
    write(tmp_path, "val", FEATURES[:2], [0, 4])
    write(tmp_path, "test", FEATURES[:2], [0, -1])
    cache = FeatureCache(tmp_path, verify=True)
    assert cache.num_classes == 5
    assert cache.counts.tolist() == [1, 1, 0, 0, 0]
    assert [cache[split].labels.tolist() for split in cache] == [[0, 1], [0, 4], [0, -1]]


@pytest.mark.parametrize("classes", [2, 5])
def test_logits_of_another_width_than_the_other_splits_are_refused(classes: int, tmp_path: Path, refused: Any) -> None:
    write(tmp_path, "train", FEATURES[:2], [0, 1], logits=np.zeros((2, 3)))
    with refused("3", str(classes)):
        write(tmp_path, "val", FEATURES[:2], [0, 1], logits=np.zeros((2, classes)))
    assert FeatureCache(tmp_path)["train"].logits.shape == (2, 3)


def test_labels_beyond_the_class_names_of_the_cache_are_refused(tmp_path: Path, refused: Any) -> None:
    write(tmp_path, "train", FEATURES[:2], [0, 1], class_names=["a", "b", "c"])
    with refused("label 4", "out of range"):
        write(tmp_path, "val", FEATURES[:2], [0, 4])
    assert list(FeatureCache(tmp_path)) == ["train"]


def test_ids_that_are_no_unicode(tmp_path: Path) -> None:
    # A file name on Linux is bytes; Python shows the odd ones as lone surrogates.
    write(tmp_path, "train", FEATURES[:2], LABELS[:2], sample_ids=["a\udcff.jpg", "b.jpg"])
    assert FeatureCache(tmp_path)["train"].sample_id.tolist() == ["a\ufffd.jpg", "b.jpg"]


@pytest.mark.usefixtures("small_shards")
def test_two_writers_of_one_split(tmp_path: Path, refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # The second comes when the first has finished a file: it must take back nothing of the first's.
    real, began = ShardWriter.write, time.perf_counter()

    def late(writer: ShardWriter, block: int, values: Any) -> None:
        if writer.final.name == "00002.h5":
            with refused("train", f"process {os.getpid()}", error=BeingWritten):
                write(tmp_path, "train", FEATURES + 1, LABELS)
            write(tmp_path, "val", FEATURES[:2] + 9, LABELS[:2])  # another split may be written meanwhile
        real(writer, block, values)

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "write", late)
        write(tmp_path, "train", FEATURES, LABELS)
    assert time.perf_counter() - began < 10
    cache = FeatureCache(tmp_path, verify=True)
    assert np.array_equal(cache["train"].features, FEATURES)
    assert np.array_equal(cache["val"].features, FEATURES[:2] + 9)
    assert not list(tmp_path.glob("**/*.lock"))


@pytest.mark.usefixtures("small_shards")
def test_nothing_of_a_split_is_there_before_all_of_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "val", FEATURES, LABELS)
    real, seen = ShardWriter.write, []

    def look(writer: ShardWriter, block: int, values: Any) -> None:
        seen.append(list(FeatureCache(tmp_path, verify=True)))
        real(writer, block, values)

    monkeypatch.setattr(ShardWriter, "write", look)
    write(tmp_path, "train", FEATURES, LABELS)
    assert seen == [["val"]] * 3
    assert list(FeatureCache(tmp_path)) == ["val", "train"]


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("operation", ["create", "allocate", "write_at", "sync", "sync_folder", "rename"])
@pytest.mark.parametrize("sticky", [False, True], ids=["once", "from then on"])
def test_a_fault_at_any_operation(operation: str, sticky: bool, tmp_path: Path, tree: Any, failing: Any) -> None:
    def save(path: Path) -> None:
        write(path, "train", FEATURES, LABELS, logits=np.ones((N, K)), head=HEAD)

    with failing(operation, at=0) as calls:
        save(tmp_path / "whole")
    wanted = tree(tmp_path / "whole")
    assert calls[0] >= 3
    for at in range(1, calls[0] + 1):
        path = tmp_path / str(at)
        with pytest.raises(OSError, match="No space left on device"), failing(operation, at, sticky):
            save(path)
        left = tree(path)
        assert {name: data for name, data in left.items() if data}.items() <= wanted.items()
        # The plan is the last to come; only the flush of its name may fail when it is there.
        assert [name for name in left if name.startswith("train")] == []
        save(path)
        assert tree(path) == wanted


def test_a_shard_of_other_features_is_another_cache(tmp_path: Path, refused: Any) -> None:
    for name, number in (("a", 1.0), ("b", 2.0)):
        write(tmp_path / name, "train", np.full((3, 2), number, np.float32), np.zeros(3, int))
    (tmp_path / "a" / "train" / "00000.h5").replace(tmp_path / "b" / "train" / "00000.h5")
    with refused("00000.h5", "another cache"):
        _ = FeatureCache(tmp_path / "b")["train"]
