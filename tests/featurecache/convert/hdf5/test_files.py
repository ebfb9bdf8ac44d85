"""HDF5 files of other people in, and caches out."""

from __future__ import annotations

import importlib.util
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from featurecache import FeatureCache, write
from featurecache.convert.child import Child
from featurecache.convert.hdf5 import files as hdf5

ROWS, WIDTH = 50, 7
FEATURES = np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype("f4")
LABELS = np.arange(ROWS) % 4
IDS = [f"bild-ä/{i}.png" for i in range(ROWS)]


def gathered(file: Path, **names: str) -> dict[str, Any]:
    """All rows of a file."""
    blocks = list(hdf5.read(file, names))
    columns = {name: [block[name] for block in blocks] for name in blocks[0]}
    texts = list(chain.from_iterable(columns.pop("sample_id", [])))
    return {name: np.concatenate(parts) for name, parts in columns.items()} | ({"sample_id": texts} if texts else {})


@settings(max_examples=20)
@given(
    chunk=st.none() | st.tuples(st.integers(1, ROWS), st.integers(1, WIDTH)),
    packed=st.sampled_from([None, "gzip", "lzf"]),
    shuffle=st.booleans(),
    checksum=st.booleans(),
    dtype=st.sampled_from(["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"]),
    kind=st.sampled_from(["i1", "u1", "<i4", ">u8", "<f4", ">f8"]),
    version=st.sampled_from(["earliest", "v110", "latest"]),
    user=st.sampled_from([0, 512, 4096]),
)
def test_a_file_of_any_layout_is_read_as_h5py_reads_it(
    tmp_path_factory: Any, chunk: Any, packed: Any, shuffle: bool, checksum: bool, dtype: str, kind: str,
    version: str, user: int,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("any") / "a.h5"
    extra = {"compression": packed, "shuffle": shuffle, "fletcher32": checksum} if chunk else {}
    text = {**extra, "fletcher32": False} if chunk else {}  # the library sums no text of any length
    with h5py.File(path, "w", libver=(version, "latest"), userblock_size=user) as file:
        file.create_dataset("feats", data=FEATURES.astype(dtype), chunks=chunk, **extra)
        file.create_dataset("y", data=LABELS.astype(kind), chunks=chunk and chunk[:1], **extra)
        file.create_dataset("paths", data=IDS, dtype=h5py.string_dtype(), chunks=chunk and chunk[:1], **text)
    read = gathered(path)
    np.testing.assert_array_equal(read["features"], FEATURES.astype(dtype))
    np.testing.assert_array_equal(read["labels"], LABELS)
    assert read["features"].dtype.isnative
    assert read["labels"].dtype == np.int64
    assert read["sample_id"] == IDS


def test_columns_in_groups_are_named_by_their_path(tmp_path: Path, refused: Any) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for split in ("train", "val"):
            file[f"{split}/feats"], file[f"{split}/y"] = FEATURES + (split == "val"), LABELS
    with refused("train/feats", "val/feats", "--map features="):
        gathered(tmp_path / "a.h5")
    read = gathered(tmp_path / "a.h5", features="val/feats", labels="/val/y")
    np.testing.assert_array_equal(read["features"], FEATURES + 1)
    assert set(read) == {"features", "labels"}


def test_what_is_not_to_be_read_may_be_strange(tmp_path: Path, refused: Any) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"], file["labels"] = FEATURES, h5py.SoftLink("/nowhere")
    with refused("labels", "soft link", "--map labels="):
        gathered(tmp_path / "a.h5")
    assert set(gathered(tmp_path / "a.h5", labels="")) == {"features"}


def test_ids_as_numbers_and_padded_text(tmp_path: Path) -> None:
    padded = h5py.h5t.C_S1.copy()
    padded.set_size(20)
    padded.set_strpad(h5py.h5t.STR_SPACEPAD)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"], file["ids"] = FEATURES, np.arange(ROWS) * 10
        space = h5py.h5s.create_simple((ROWS,))
        h5py.h5d.create(file.id, b"names", padded, space)
        file["names"][:] = np.array([name.encode() for name in IDS])
    assert gathered(tmp_path / "a.h5", sample_id="ids")["sample_id"][3] == "30"
    assert gathered(tmp_path / "a.h5", sample_id="names")["sample_id"] == IDS


def test_blocks_are_bounded(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = np.zeros((10_000, 1), "f4")
    assert [len(block["features"]) for block in hdf5.read(tmp_path / "a.h5", {})] == [4096, 4096, 1808]


def cache_of(path: Path) -> FeatureCache:
    """A cache of two splits with logits and a head."""
    features = torch.from_numpy(FEATURES)
    weight, bias = torch.eye(4, WIDTH), torch.arange(4.0)
    for split in ("train", "val"):
        labels = torch.from_numpy(LABELS)
        logits = features @ weight.T + bias
        write(path, split, features, labels, logits=logits, head=(weight, bias), sample_ids=IDS, dtype="float32")
    return FeatureCache(path)


def test_a_shard_of_a_cache_is_an_hdf5_file_like_any_other(tmp_path: Path) -> None:
    cache = cache_of(tmp_path / "a.cache")
    read = gathered(tmp_path / "a.cache" / "train" / "00000.h5")
    np.testing.assert_array_equal(read["features"], FEATURES)
    np.testing.assert_array_equal(read["logits"], cache["train"].logits)
    assert read["sample_id"] == IDS


def test_a_cache_comes_back_from_what_was_saved(tmp_path: Path) -> None:
    cache = cache_of(tmp_path / "a.cache")
    (tmp_path / "out").mkdir()
    files = hdf5.save(cache, tmp_path / "out")
    assert [file.name for file in files] == ["train.h5", "val.h5", "head.safetensors"]
    assert sorted(files) == sorted((tmp_path / "out").iterdir())
    read = gathered(files[1])
    np.testing.assert_array_equal(read["features"], FEATURES)
    np.testing.assert_array_equal(read["labels"], LABELS)
    np.testing.assert_array_equal(read["logits"], cache["val"].logits)
    assert read["sample_id"] == IDS


def test_what_is_saved_has_root_columns_of_one_length_and_text_as_text(tmp_path: Path) -> None:
    hdf5.save(cache_of(tmp_path / "a.cache"), tmp_path)
    with h5py.File(tmp_path / "train.h5") as file:
        assert {name: column.shape for name, column in file.items()} == {
            "features": (ROWS, WIDTH), "logits": (ROWS, 4), "labels": (ROWS,), "index": (ROWS,),
            "sample_id": (ROWS,), "status": (ROWS,),
        }  # fmt: skip
        assert h5py.check_string_dtype(file["sample_id"].dtype).length is None
        assert [name.decode() for name in file["sample_id"][:]] == IDS


def test_a_system_without_limits_is_told_so(tmp_path: Path, monkeypatch: Any, refused: Any) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = FEATURES
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "resource" else find(name))
    with refused("a.h5", "limits"):
        gathered(tmp_path / "a.h5")


@pytest.fixture(scope="module")
def valid(tmp_path_factory: Any) -> bytes:
    """A small file of every kind of column."""
    path = tmp_path_factory.mktemp("valid") / "a.h5"
    with h5py.File(path, "w", libver=("earliest", "v108")) as file:
        file.create_dataset("features", data=FEATURES, chunks=(20, 4), compression="gzip", shuffle=True)
        file["labels"] = LABELS
        file.create_dataset("ids", data=IDS, dtype=h5py.string_dtype())
    return path.read_bytes()


@settings(max_examples=40, derandomize=True)
@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
    st.floats(0.2, 1) | st.just(1.0),
)
def test_damage_is_refused_or_read(
    valid: bytes, tmp_path_factory: Any, read_or_refused: Any, flips: Any, end: Any
) -> None:
    data = bytearray(valid[: int(end * len(valid))])
    for place, value in flips:
        data[int(place * len(data))] = value
    path = tmp_path_factory.mktemp("damaged") / "a.h5"
    path.write_bytes(data)
    read = read_or_refused(lambda: gathered(path), "a.h5")
    if read is not None:
        assert len({len(column) for column in read.values()}) == 1
        assert read["features"].ndim == 2


def test_the_other_process_gets_no_secrets_and_no_plug_ins(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "child.py").write_text("import json, os\nprint(json.dumps(dict(os.environ)))\n")
    monkeypatch.setenv("TOKEN", "secret")
    monkeypatch.setenv("HDF5_PLUGIN_PATH", "/plug-ins")
    program = tmp_path / "child.py"
    with program.open("rb") as file, Child(program, file, library="HDF5", environment=hdf5.ENVIRONMENT) as child:
        said = child.line()
    assert not {"TOKEN", "HDF5_PLUGIN_PATH"} & set(said)
    assert said["HDF5_PLUGIN_PRELOAD"] == "::"
