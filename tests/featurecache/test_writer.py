"""Shards: exact bytes, plain HDF5, and nothing under a final name that is not whole."""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from featurecache import layout
from featurecache.plan import CachePlan, SplitPlan
from featurecache.writer import ShardWriter, start_cache

ROWS, WIDTH, CLASSES = 3, 2, 4
PLAN = CachePlan({"source": "arrays"}, CLASSES, ("a", "b", "c", "é")).with_split(
    "train", SplitPlan(ROWS, 2, (0, ROWS), True)
)
COLUMNS = layout.columns(ROWS, WIDTH, dtype="float16", classes=CLASSES, id_bytes=5)
BLOCK: dict[str, NDArray[Any]] = {
    "features": np.array([[1, -2], [0.5, 65504], [0, -0.0]], np.float16),
    "logits": np.arange(12, dtype=np.float32).reshape(3, 4) / 7,
    "labels": np.array([3, -1, 0]),
    "index": np.arange(3),
    "sample_id": np.array(["é1".encode(), b"", b"12345"]),
    "status": np.array([0, 0, 1], np.uint8),
}


def save(cache: Path, plan: CachePlan = PLAN) -> Path:
    """A shard of BLOCK, written in two pieces."""
    cache.mkdir(exist_ok=True)
    with ShardWriter(cache, plan, "train", 0, COLUMNS) as writer:
        for rows in (slice(0, 2), slice(2, 3)):
            writer.append({name: values[rows] for name, values in BLOCK.items()})
    return cache / "train" / "00000.h5"


@pytest.fixture
def handles() -> Iterator[None]:
    """No file is left open."""
    folder = Path("/proc/self/fd")
    before = len(os.listdir(folder)) if folder.exists() else 0
    yield
    if before:
        assert len(os.listdir(folder)) == before


@pytest.mark.usefixtures("handles")
def test_a_shard_has_these_bytes(tmp_path: Path) -> None:
    data = save(tmp_path / "c").read_bytes()
    hash_ = layout.specification_hash({"source": "arrays"})
    offsets, end = {}, 4096
    for name, values in BLOCK.items():  # where they lie is HDF5's choice: find them by their content
        raw = values.astype(COLUMNS[name].dtype).tobytes()
        offsets[name] = data.index(raw, end)
        end = offsets[name] + len(raw)
    text = (
        '{"format":"featurecache.shard","schema":[1,0],"split":"train","shard":0,"rows":3,"columns":{'
        f'"features":{{"dtype":"<f2","shape":[3,2],"offset":{offsets["features"]}}},'
        f'"logits":{{"dtype":"<f4","shape":[3,4],"offset":{offsets["logits"]}}},'
        f'"labels":{{"dtype":"<i8","shape":[3],"offset":{offsets["labels"]}}},'
        f'"index":{{"dtype":"<i8","shape":[3],"offset":{offsets["index"]}}},'
        f'"sample_id":{{"dtype":"|S5","shape":[3],"offset":{offsets["sample_id"]}}},'
        f'"status":{{"dtype":"|u1","shape":[3],"offset":{offsets["status"]}}}}},'
        '"cache":{"format":"featurecache","schema":[1,0],"specification":{"source":"arrays"},'
        f'"hash":"{hash_}","classes":4,"class_names":["a","b","c","é"],'
        '"splits":{"train":{"rows":3,"batch_size":2,"bounds":[0,3],"seen":true,"data":null}}}}'
    ).encode()
    assert data[:8] == bytes.fromhex("46 43 53 48 41 52 44 0A")
    assert data[8:16] == struct.pack("<II", len(text), zlib.crc32(text))
    assert data[16 : 16 + len(text)] == text
    assert data[16 + len(text) : 4096] == bytes(4096 - 16 - len(text))
    assert data[4096:4105] == b"\x89HDF\r\n\x1a\n\x02"  # the signature and superblock version 2
    assert all(offset % 64 == 0 for offset in offsets.values())


def test_nothing_depends_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = save(tmp_path / "c").read_bytes()
    monkeypatch.chdir(tmp_path)
    assert save(Path("another folder")).read_bytes() == first
    assert save(tmp_path / "another folder").read_bytes() == first  # over the file that is there


def test_no_object_holds_the_time(tmp_path: Path) -> None:
    data = save(tmp_path / "c").read_bytes()
    # An object header of version 2 is OHDR, the version and flags; bit 5: "access, modification, change and birth
    # times are stored" (HDF5 File Format Specification 4.0, IV.A.1.b).
    flags = [data[place.end()] for place in re.finditer(b"OHDR\x02", data)]
    assert len(flags) == 1 + len(COLUMNS)  # the root group and its datasets
    assert [flag & 0x20 for flag in flags] == [0] * len(flags)


@pytest.mark.parametrize("classes", [CLASSES, 8_000])
def test_hdf5_tools_read_a_shard(classes: int, tmp_path: Path) -> None:
    names = tuple(f"class {i} of a long list with é" for i in range(classes))
    block = {**BLOCK, "logits": np.ones((ROWS, classes), np.float32)}
    columns = layout.columns(ROWS, WIDTH, dtype="float16", classes=classes, id_bytes=5)
    plan = CachePlan({}, classes, names, PLAN.splits)
    with ShardWriter(tmp_path, plan, "train", 0, columns) as writer:
        writer.append(block)
    with h5py.File(tmp_path / "train" / "00000.h5") as file:
        assert file.userblock_size == (4096 if classes == CLASSES else 2**19)
        assert sorted(file) == sorted(COLUMNS)
        assert len(file.attrs) == 0
        for name, dataset in file.items():
            assert dataset.chunks is None
            assert dataset.compression is None
            assert dataset.id.get_create_plist().get_nfilters() == 0
            assert dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
            assert dataset.external is None
            assert not dataset.is_virtual
            assert len(dataset.attrs) == 0
            if name != "sample_id":
                assert np.array_equal(dataset[()], block[name])
                assert dataset.dtype == columns[name].dtype
        text = h5py.check_string_dtype(file["sample_id"].dtype)
        assert (text.encoding, text.length) == ("utf-8", 5)
        assert file["sample_id"].asstr()[()].tolist() == ["é1", "", "12345"]


@pytest.mark.usefixtures("handles")
def test_an_error_in_the_block_leaves_nothing(tmp_path: Path, tree: Any) -> None:
    def write_half() -> None:
        with ShardWriter(tmp_path, PLAN, "train", 0, COLUMNS) as writer:
            writer.append({name: values[:2] for name, values in BLOCK.items()})
            assert (tmp_path / "train" / "00000.h5.part").exists()
            assert not (tmp_path / "train" / "00000.h5").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert tree(tmp_path) == {}


def test_an_error_leaves_the_other_shards(tmp_path: Path, tree: Any) -> None:
    save(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(ZeroDivisionError), ShardWriter(tmp_path, PLAN, "train", 1, COLUMNS):
        _ = 1 / 0
    assert tree(tmp_path) == before


@pytest.mark.usefixtures("handles")
@pytest.mark.parametrize("rows", [0, 2, 4])
def test_a_shard_of_another_number_of_rows_is_refused(rows: int, tmp_path: Path, refused: Any, tree: Any) -> None:
    with refused("00000.h5", f"{rows} of 3 rows"), ShardWriter(tmp_path, PLAN, "train", 0, COLUMNS) as writer:
        for row in range(rows):
            writer.append({name: values[[row % 3]] for name, values in BLOCK.items()})
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("name", ["features", "logits", "index", "status"])
def test_a_block_of_another_shape_is_refused(name: str, tmp_path: Path, refused: Any, tree: Any) -> None:
    wrong = {**BLOCK, name: np.zeros((3, 9)) if BLOCK[name].ndim == 2 else np.zeros(2)}
    with refused(name, "shape"), ShardWriter(tmp_path, PLAN, "train", 0, COLUMNS) as writer:
        writer.append(wrong)
    assert tree(tmp_path) == {}


@pytest.mark.usefixtures("handles")
def test_a_header_that_is_too_large_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Any, tree: Any
) -> None:
    monkeypatch.setattr(layout, "MAX_USER_BLOCK", 64)
    with refused("class names"), ShardWriter(tmp_path, PLAN, "train", 0, COLUMNS):
        pass
    assert tree(tmp_path) == {}


@pytest.mark.usefixtures("handles")
@pytest.mark.parametrize("operation", ["allocate", "write_at", "publish", "flush"])
def test_a_full_disk_leaves_nothing(operation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree: Any) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"featurecache.disk.{operation}", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path)
    assert tree(tmp_path) == {}


def test_the_head_is_the_state_of_a_linear_layer(tmp_path: Path) -> None:
    layer = torch.nn.Linear(WIDTH, CLASSES)
    start_cache(tmp_path / "deep" / "c", (layer.weight.detach().t().contiguous().t(), layer.bias.detach()))
    torch.nn.Linear(WIDTH, CLASSES).load_state_dict(load_file(tmp_path / "deep" / "c" / "head.safetensors"))
    assert torch.equal(load_file(tmp_path / "deep" / "c" / "head.safetensors")["weight"], layer.weight)


def test_a_cache_without_a_head_is_an_empty_folder(tmp_path: Path, tree: Any) -> None:
    start_cache(tmp_path / "c", None)
    start_cache(tmp_path / "c", None)
    assert tree(tmp_path) == {"c/": b""}
