"""A damaged, exchanged or hostile file is refused in one line, without a wait and without much memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

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
            patch.setattr("featurecache.arrays.ARRAY_BLOCK", -(-N // shards))
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


def everything(path: Path) -> list[Any]:
    """All that a cache gives."""
    opened = FeatureCache(path)
    found: list[Any] = [*opened.head, opened.counts, opened.class_names, json.dumps(opened.describe()), repr(opened)]
    for split in opened.values():
        found += [np.asarray(split.features), np.asarray(split.logits), split.labels, split.index, split.status]
        found += [split.sample_id, split.nbytes, len(split), repr(split)]
    return found


def test_a_shard_cut_short(cache: Path, refused: Any) -> None:
    file = cache / "train" / "00000.h5"
    data = file.read_bytes()
    for size in [0, 1, 15, 16, 4095, 4096, 4200, 6144, 6200]:
        file.write_bytes(data[:size])
        with refused(str(file)):
            FeatureCache(cache)["train"]


SWAPS: dict[str, tuple[str, str]] = {
    "splits": ("c/train/00000.h5", "c/val/00000.h5"),
    "caches": ("c/train/00000.h5", "other/train/00000.h5"),
    "shards": ("c/train/00000.h5", "c/train/00001.h5"),
}


@pytest.mark.parametrize(("one", "two"), SWAPS.values(), ids=SWAPS.keys())
def test_exchanged_shards(one: str, two: str, tmp_path: Path, refused: Any) -> None:
    make(tmp_path / "c", shards=3)
    make(tmp_path / "other", shards=3, head=(HEAD[0] + 1, HEAD[1]))
    keep = (tmp_path / one).read_bytes()
    shutil.copy(tmp_path / two, tmp_path / one)
    (tmp_path / two).write_bytes(keep)
    with refused(str(tmp_path / one)):
        FeatureCache(tmp_path / "c")["train"]


def test_a_shard_of_other_data_is_refused(tmp_path: Path, refused: Any) -> None:
    # Same specification, other labels: the shard carries the digest of the data that it was made from.
    make(tmp_path / "c")
    write(tmp_path / "other", "train", FEATURES, LABELS[::-1], logits=LOGITS, head=HEAD, class_names=list("abcd"))
    shutil.copy(tmp_path / "other" / "train" / "00000.h5", tmp_path / "c" / "train" / "00000.h5")
    with refused("00000.h5"):
        FeatureCache(tmp_path / "c")["train"]


HEADS: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "missing": (lambda file: file.unlink(), []),
    "empty": (lambda file: file.write_bytes(b""), []),
    "text": (lambda file: file.write_text("a head"), []),
    "cut short": (lambda file: file.write_bytes(file.read_bytes()[:-1]), []),
    "a folder": (lambda file: (file.unlink(), file.mkdir()), []),
    "a huge header": (lambda file: file.write_bytes((2**62).to_bytes(8, "little") + file.read_bytes()[8:]), []),
    "no bias": (lambda file: save_file({"weight": HEAD[0]}, file), ["bias"]),
    "other names": (lambda file: save_file({"w": HEAD[0], "b": HEAD[1]}, file), ["weight"]),
    "other classes": (
        lambda file: save_file({"weight": torch.ones(5, D), "bias": torch.ones(5)}, file),
        ["(5, 3)", "4"],
    ),
    "other width": (lambda file: save_file({"weight": torch.ones(K, 9), "bias": torch.ones(K)}, file), ["(4, 9)"]),
    "flat": (lambda file: save_file({"weight": torch.ones(K * D), "bias": torch.ones(K)}, file), ["(12,)"]),
    "other bias": (lambda file: save_file({"weight": HEAD[0], "bias": torch.ones(1)}, file), ["(1,)"]),
    "nan": (lambda file: save_file({"weight": HEAD[0] * torch.nan, "bias": HEAD[1]}, file), []),
    "complex": (lambda file: save_file({"weight": HEAD[0] * 1j, "bias": HEAD[1]}, file), []),
    "another cache's": (lambda file: save_file({"weight": HEAD[0] + 1, "bias": HEAD[1]}, file), []),
}


@pytest.mark.parametrize(("damage", "parts"), HEADS.values(), ids=HEADS.keys())
def test_a_head_that_is_not_the_caches(
    damage: Callable[[Path], Any], parts: list[str], tmp_path: Path, refused: Any
) -> None:
    cache = make(tmp_path / "c")
    damage(cache / "head.safetensors")
    with refused(str(cache / "head.safetensors"), *parts):
        _ = FeatureCache(cache).head
    assert np.array_equal(FeatureCache(cache)["train"].features, FEATURES)


CODE = """
import sys
from featurecache import FeatureCache
cache = FeatureCache(sys.argv[1])
for read in (lambda: cache["train"], lambda: cache.head, lambda: FeatureCache(sys.argv[2])):
    try:
        read()
        print("read")
    except (ValueError, OSError) as error:
        print("refused", error)
"""


def test_a_pipe_in_the_place_of_a_file_does_not_block(tmp_path: Path) -> None:
    cache, other = make(tmp_path / "c"), make(tmp_path / "other")
    for file in (cache / "train" / "00000.h5", cache / "head.safetensors", other / "cache.json"):
        file.unlink()
        os.mkfifo(file)
    # In a process of its own: one that waits for a pipe can only be killed.
    run = subprocess.run(
        [sys.executable, "-c", CODE, str(cache), str(other)], capture_output=True, text=True, timeout=15, check=True
    )
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["refused"] * 3
    for line, name in zip(lines, ("00000.h5", "head.safetensors", "cache.json"), strict=True):
        assert name in line


def test_a_folder_in_the_place_of_a_shard(tmp_path: Path, refused: Any) -> None:
    file = make(tmp_path / "c") / "train" / "00000.h5"
    file.unlink()
    file.mkdir()
    with pytest.raises((ValueError, OSError), match="00000"):
        FeatureCache(tmp_path / "c")["train"]


Edit = Callable[[dict[str, Any]], Any]
EDITS: dict[str, Edit] = {
    "the other split": lambda header: header.update(split="val"),
    "another shard": lambda header: header.update(shard=1),
    "another cache": lambda header: header["cache"].update(hash="0" * 64),
    "no cache": lambda header: header.update(cache=None),
    "fewer rows": lambda header: (
        header.update(rows=2),
        [column.update(shape=[2, *column["shape"][1:]]) for column in header["columns"].values()],
    ),
    "narrower features": lambda header: header["columns"]["features"].update(shape=[N, D - 1]),
    "features of another dtype": lambda header: header["columns"]["features"].update(dtype="<f4", shape=[N, 1]),
    "narrower logits": lambda header: header["columns"]["logits"].update(shape=[N, K - 1]),
    "no logits": lambda header: header["columns"].pop("logits"),
    "labels from elsewhere": lambda header: header["columns"]["labels"].update(
        offset=header["columns"]["logits"]["offset"]
    ),
    "the index for the labels": lambda header: (
        header["columns"]["labels"].update(offset=header["columns"]["index"]["offset"]),
        header["columns"]["index"].update(offset=header["columns"]["labels"]["offset"] - 64),
    ),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_a_header_that_does_not_fit_the_plan(edit: Edit, tmp_path: Path, edit_header: Any, refused: Any) -> None:
    file = make(tmp_path / "c") / "train" / "00000.h5"
    edit_header(file, edit)
    with refused(str(file)):
        FeatureCache(tmp_path / "c")["train"]


@pytest.mark.parametrize(("column", "value"), [("labels", K), ("labels", -2), ("labels", 2**63 - 1), ("index", 1)])
def test_rows_that_cannot_be(column: str, value: int, tmp_path: Path, edit_header: Any, refused: Any) -> None:
    file = make(tmp_path / "c") / "train" / "00000.h5"
    places: dict[str, int] = {}
    edit_header(file, lambda header: places.update({k: v["offset"] for k, v in header["columns"].items()}))
    with file.open("r+b") as shard:
        shard.seek(places[column])
        shard.write(value.to_bytes(8, "little", signed=True))
    with refused(str(file), "damaged"):
        FeatureCache(tmp_path / "c")["train"]


def test_a_header_that_promises_much_allocates_little(tmp_path: Path, edit_header: Any, refused: Any) -> None:
    file = make(tmp_path / "c") / "train" / "00000.h5"

    def promise(header: dict[str, Any]) -> None:
        header["rows"] = 2**40
        for column in header["columns"].values():
            column["shape"][0] = 2**40

    edit_header(file, promise)
    tracemalloc.start()
    try:
        with refused(str(file)):
            FeatureCache(tmp_path / "c")["train"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**26 + 2**22  # the bound of one document, and room for the rest


@given(
    st.sampled_from(["cache.json", "train/00000.h5", "head.safetensors"]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_damaged_bytes_give_a_refusal_or_a_whole_cache(
    sample: Path,
    tmp_path_factory: pytest.TempPathFactory,
    read_or_refused: Any,
    name: str,
    flips: list[tuple[float, int]],
) -> None:
    cache = tmp_path_factory.mktemp("damaged") / "c"
    shutil.copytree(sample, cache)
    data = bytearray((cache / name).read_bytes())
    length = min(len(data), 1200)  # the header of the shard; its rows carry no checksum
    for place, value in flips:
        data[int(place * length)] = value
    (cache / name).write_bytes(data)
    found, wanted = read_or_refused(lambda: everything(cache)), everything(sample)
    if found is None:
        return
    if name != "cache.json":  # whose class names, for one, may say anything
        for one, two in zip(found[:3] + found[6:], wanted[:3] + wanted[6:], strict=True):
            assert np.array_equal(one, two)
