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

from featurecache import FeatureCache, layout, write

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


def everything(path: Path) -> list[Any]:
    """All that a cache gives, once its bytes were compared with their checksums."""
    opened = FeatureCache(path, verify=True)
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
        [sys.executable, "-c", CODE, str(cache), str(other)], capture_output=True, text=True, timeout=60, check=True
    )
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["refused"] * 3
    for line, name in zip(lines, ("00000.h5", "head.safetensors", "cache.json"), strict=True):
        assert name in line


def test_a_folder_in_the_place_of_a_shard(tmp_path: Path) -> None:
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
    "wider ids": lambda header: header["columns"]["sample_id"].update(dtype="|S65"),
    "views": lambda header: header["columns"].update(
        view={"dtype": "<i4", "shape": [N], "offset": header["columns"]["status"]["offset"]},
        status={"dtype": "|u1", "shape": [N], "offset": header["columns"]["crc"]["offset"]},
    ),
    "larger blocks": lambda header: header.update(block=header["block"] + 1),
    "other class names": lambda header: header["cache"].update(class_names=list("abce")),
    "other seen": lambda header: header["cache"]["splits"]["train"].update(seen=False),
    "a plan of no split": lambda header: header["cache"].update(splits={}),
    "a plan of two splits": lambda header: header["cache"]["splits"].update(val=header["cache"]["splits"]["train"]),
    "fewer classes": lambda header: header["cache"].update(classes=K - 1, class_names=list("abc")),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_a_header_that_does_not_fit_the_plan(edit: Edit, tmp_path: Path, edit_header: Any, refused: Any) -> None:
    file = make(tmp_path / "c") / "train" / "00000.h5"
    edit_header(file, edit)
    with refused(str(file)):
        FeatureCache(tmp_path / "c")["train"]


PLAN_EDITS: dict[str, Edit] = {
    "class names": lambda plan: plan.update(class_names=list("abce")),
    "no class names": lambda plan: plan.update(class_names=None),
    "classes": lambda plan: plan.update(classes=K + 1, class_names=list("abcde")),
    "the specification": lambda plan: plan["specification"].update(source="elsewhere"),
    "rows": lambda plan: plan["splits"]["train"].update(rows=N - 2, bounds=[0, N - 2]),
    "bounds": lambda plan: plan["splits"]["train"].update(bounds=[0, 2, N]),
    "views": lambda plan: plan["splits"]["train"].update(views=2),
    "seen": lambda plan: plan["splits"]["train"].update(seen=False),
    "data": lambda plan: plan["splits"]["train"].update(data=None),
    "batch_size": lambda plan: plan["splits"]["train"].update(batch_size=1),
    "made_with": lambda plan: plan["splits"]["train"].update(made_with={"seed": 1}),
    "the name": lambda plan: plan["splits"].update(train=plan["splits"]["val"]),
}


@pytest.mark.parametrize("edit", PLAN_EDITS.values(), ids=PLAN_EDITS.keys())
def test_a_plan_that_was_edited(edit: Edit, tmp_path: Path, refused: Any) -> None:
    # Where it could be forged with its hash, the shards still carry what they were made as.
    file = make(tmp_path / "c") / "cache.json"
    plan = json.loads(file.read_text())
    edit(plan)
    plan["hash"] = layout.specification_hash(plan["specification"])
    file.write_text(json.dumps(plan))
    with refused(str(tmp_path / "c"), "train"):
        FeatureCache(tmp_path / "c")["train"]


def test_the_number_of_classes_may_grow_only_where_nothing_says_it(tmp_path: Path, refused: Any) -> None:
    for names in (None, list("abcd")):
        cache = tmp_path / str(names is None)
        write(cache, "train", FEATURES, LABELS, class_names=names)
        plan = json.loads((cache / "cache.json").read_text())
        more = {"classes": K + 1, "class_names": names and list("abcde")}
        (cache / "cache.json").write_text(json.dumps(plan | more))
    assert FeatureCache(tmp_path / "True")["train"].num_classes == K + 1
    with refused("cache.json", f"classes is {K + 1}", str(K)):  # no file of any split has met the fifth
        FeatureCache(tmp_path / "True", verify=True)
    with refused("00000.h5", "train"):
        FeatureCache(tmp_path / "False")["train"]
    (tmp_path / "True" / "cache.json").write_text(json.dumps(plan | {"classes": K - 1, "class_names": None}))
    with refused("00000.h5", "train"):
        FeatureCache(tmp_path / "True")["train"]


def newer(document: dict[str, Any], schema: list[int]) -> dict[str, Any]:
    """What a later release may have written: another version, and entries that nobody knew."""
    document.update(schema=schema, later={"a": [1, 2]})
    for split in document.get("splits", {}).values():
        split["later"] = "x"
    return document


def make_newer(path: Path, edit_header: Any, *, cache: list[int], shards: list[int]) -> Path:
    """A cache whose cache.json and shards are of these versions."""
    make(path)
    file = path / "cache.json"
    file.write_text(json.dumps(newer(json.loads(file.read_text()), cache)))
    for shard in path.glob("*/*.h5"):
        edit_header(shard, lambda header: newer(header, shards)["cache"].update(newer(header["cache"], cache)))
    return path


def test_a_newer_minor_version_is_read(tmp_path: Path, edit_header: Any) -> None:
    found = everything(make_newer(tmp_path / "c", edit_header, cache=[1, 3], shards=[1, 2]))
    wanted = everything(make(tmp_path / "old"))
    for one, two in zip(found[:3] + found[6:-1], wanted[:3] + wanted[6:-1], strict=True):
        assert np.array_equal(one, two)
    FeatureCache(tmp_path / "c", verify=True)


def test_a_newer_major_version_is_refused_with_the_way_out(tmp_path: Path, edit_header: Any, refused: Any) -> None:
    with refused("cache.json", "version 2", "update featurecache-rebalance"):
        FeatureCache(make_newer(tmp_path / "a", edit_header, cache=[2, 0], shards=[1, 0]))
    cache = FeatureCache(make_newer(tmp_path / "b", edit_header, cache=[1, 0], shards=[2, 0]))
    with refused("00000.h5", "version 2", "update featurecache-rebalance"):
        cache["train"]


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
    for place, value in flips:
        data[int(place * len(data))] = value
    (cache / name).write_bytes(data)
    found, wanted = read_or_refused(lambda: everything(cache)), everything(sample)
    if found is None:
        return
    for one, two in zip(found[:4] + found[6:], wanted[:4] + wanted[6:], strict=True):
        assert np.array_equal(one, two)
