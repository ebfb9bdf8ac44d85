"""Shards: exact bytes, plain HDF5, and nothing under a final name that is not whole."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from featurecache import layout
from featurecache.plan import CachePlan, SplitPlan
from featurecache.shards.header import read_header
from featurecache.shards.skeleton import lay_out
from featurecache.writer import ShardWriter


@pytest.mark.usefixtures("handles")
@pytest.mark.parametrize("resume", [True, False])
def test_a_shard_has_these_bytes(resume: bool, sample: Any, tmp_path: Path) -> None:
    path = sample.save(tmp_path, resume=resume)
    data = path.read_bytes()
    skeleton = lay_out(sample.columns, 4096)  # where the columns lie is HDF5's choice
    structure = b"".join(skeleton.pieces.values())
    at = {name: column.offset for name, column in skeleton.columns.items()}
    hash_ = layout.specification_hash({"source": "arrays"})
    text = (
        '{"format":"featurecache.shard","schema":[1,0],"split":"train","shard":0,"rows":3,"block":2,'
        f'"size":{len(data)},"structure":{zlib.crc32(structure)},"columns":{{'
        f'"features":{{"dtype":"<f2","shape":[3,2],"offset":{at["features"]}}},'
        f'"logits":{{"dtype":"<f4","shape":[3,4],"offset":{at["logits"]}}},'
        f'"labels":{{"dtype":"<i8","shape":[3],"offset":{at["labels"]}}},'
        f'"index":{{"dtype":"<i8","shape":[3],"offset":{at["index"]}}},'
        f'"sample_id":{{"dtype":"|S5","shape":[3],"offset":{at["sample_id"]}}},'
        f'"status":{{"dtype":"|u1","shape":[3],"offset":{at["status"]}}},'
        f'"crc":{{"dtype":"<u4","shape":[2,6],"offset":{at["crc"]}}}}},'
        '"cache":{"format":"featurecache","schema":[1,0],"specification":{"source":"arrays"},'
        f'"hash":"{hash_}","classes":4,"class_names":["a","b","c","é"],"splits":{{"train":{{"rows":3,"views":1,'
        '"batch_size":2,"bounds":[0,3],"seen":true,"data":null,"made_with":null}}}}'
    ).encode()
    stored = {
        "features": struct.pack("<6e", 1, -2, 0.5, 65504, 0, -0.0),
        "logits": struct.pack("<12f", *(np.arange(12, dtype=np.float32) / 7)),
        "labels": struct.pack("<3q", 3, -1, 0),
        "index": struct.pack("<3q", 0, 1, 2),
        "sample_id": "é1".encode() + bytes(2) + bytes(5) + b"12345",
        "status": bytes([0, 0, 1]),
    }
    crcs = [[zlib.crc32(raw[: len(raw) // 3 * 2]), zlib.crc32(raw[len(raw) // 3 * 2 :])] for raw in stored.values()]
    stored["crc"] = struct.pack("<12I", *(crcs[column][block] for block in range(2) for column in range(6)))
    wanted = bytearray(b"FCSHARD\n" + struct.pack("<II", len(text), zlib.crc32(text)) + text).ljust(
        skeleton.size, b"\0"
    )
    for name, raw in stored.items():
        wanted[at[name] : at[name] + len(raw)] = raw
    for start, piece in skeleton.pieces.items():
        wanted[start : start + len(piece)] = piece
    assert data == bytes(wanted)
    assert all(offset % 64 == 0 for offset in at.values())


def test_nothing_depends_on_the_path_or_on_what_was_there(
    sample: Any, tmp_path: Path, tree: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sample.save(tmp_path / "c").read_bytes()
    monkeypatch.chdir(tmp_path)
    assert sample.save(Path("another folder")).read_bytes() == first
    assert sample.save(Path("another folder"), resume=False).read_bytes() == first  # over the file that is there
    assert tree(tmp_path / "c") == tree(tmp_path / "another folder") == {"train/00000.h5": first}


def test_the_order_of_the_blocks_makes_no_difference(sample: Any, tmp_path: Path) -> None:
    with sample.writer(tmp_path / "c") as writer:
        for number in (1, 0):
            writer.write(number, sample.block(number))
        writer.finish()
    assert (tmp_path / "c" / "train" / "00000.h5").read_bytes() == sample.save(tmp_path / "d").read_bytes()


@pytest.mark.parametrize("classes", [4, 8_000])
def test_hdf5_tools_read_a_shard(classes: int, sample: Any, tmp_path: Path) -> None:
    names = tuple(f"class {i} of a long list with é" for i in range(classes))
    values = {**sample.values, "logits": np.ones((3, classes), np.float32)}
    columns = layout.columns(3, 2, dtype="float16", classes=classes, id_bytes=5, block=3)
    plan = CachePlan({}, classes, names).with_split("train", SplitPlan(3, 3, (0, 3), True))
    with ShardWriter(tmp_path, plan, "train", 0, columns) as writer:
        writer.write(0, values)
        writer.finish()
    path = tmp_path / "train" / "00000.h5"
    with h5py.File(path) as file:
        assert file.userblock_size == (4096 if classes == 4 else 2**19)
        assert sorted(file) == sorted(columns)
        for name in values.keys() - {"sample_id"}:
            assert np.array_equal(file[name][()], values[name])
            assert file[name].dtype == columns[name].dtype
        assert file["sample_id"].asstr()[()].tolist() == ["é1", "", "12345"]
        assert file["crc"].shape == (1, 6)


def test_h5dump_reads_a_shard(sample: Any, tmp_path: Path) -> None:
    if not (program := shutil.which("h5dump")):
        pytest.skip("h5dump is not installed")
    command = [program, "-d", "/labels", "-d", "/sample_id", "-d", "/features", str(sample.save(tmp_path))]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert run.stderr == ""
    assert "(0): 3, -1, 0" in run.stdout
    assert '"12345"' in run.stdout
    assert "65504" in run.stdout


def test_the_part_is_at_its_full_size_at_once_and_never_under_the_final_name(sample: Any, tmp_path: Path) -> None:
    final = tmp_path / "train" / "00000.h5"
    with sample.writer(tmp_path) as writer:
        part = final.with_name("00000.h5.part")
        size = part.stat().st_size
        assert read_header(part).size == size
        assert sorted(path.name for path in final.parent.iterdir()) == [
            f"00000.h5.{ending}" for ending in ("journal", "lock", "part")
        ]
        for number in range(2):
            writer.write(number, sample.block(number))
            assert not final.exists()
        writer.finish()
        assert [path.name for path in final.parent.iterdir()] == ["00000.h5"]
    assert final.stat().st_size == size


@pytest.mark.usefixtures("commit_each")
def test_every_step_is_on_the_disk_before_the_next(sample: Any, tmp_path: Path, watched: Any) -> None:
    (tmp_path / "train").mkdir()
    done = watched("create", "allocate", "write_at", "sync", "sync_folder", "rename", "remove")
    sample.save(tmp_path)
    steps = [step for step, before in zip(done, [None, *done], strict=False) if step != before]
    part, journal = "00000.h5.part", "00000.h5.journal"
    commit = [("write_at", part), ("sync", part), ("write_at", journal), ("sync", journal)]
    assert steps[steps.index(("remove", journal)) :] == [
        ("remove", journal),  # a journal never lies beside a file that it does not belong to
        ("sync_folder", "train"),
        ("create", "00000.h5.new"),
        *[(step, "00000.h5.new") for step in ("allocate", "write_at", "sync")],
        ("rename", "00000.h5.new", part),
        ("sync_folder", "train"),
        ("create", journal),
        *[(step, journal) for step in ("allocate", "write_at", "sync")],
        ("sync_folder", "train"),
        *commit,
        *commit,
        ("write_at", part),  # the checksums
        ("sync", part),
        ("rename", part, "00000.h5"),
        ("sync_folder", "train"),
        ("remove", journal),
        ("remove", part),
        ("remove", "00000.h5.lock"),
    ]


@pytest.mark.usefixtures("handles")
@pytest.mark.parametrize("written", [[], [0], [1]])
def test_a_shard_without_all_its_blocks_is_refused(
    written: list[int], sample: Any, tmp_path: Path, refused: Any, tree: Any
) -> None:
    with refused("00000.h5", f"{2 - len(written)} of 2 blocks"), sample.writer(tmp_path, resume=False) as writer:
        for number in written:
            writer.write(number, sample.block(number))
        writer.finish()
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("name", ["features", "logits", "index", "status"])
def test_a_block_of_another_shape_is_refused_before_any_of_it_is_written(
    name: str, sample: Any, tmp_path: Path, refused: Any, tree: Any
) -> None:
    good = sample.block(0)
    wrong = {**good, name: np.zeros((2, 9)) if good[name].ndim == 2 else np.zeros(3)}
    with refused(name, "shape"), sample.writer(tmp_path) as writer:
        before = tree(tmp_path)
        try:
            writer.write(0, wrong)
        finally:
            assert tree(tmp_path) == before
    assert tree(tmp_path) == {}


@pytest.mark.usefixtures("handles")
def test_a_header_that_is_too_large_leaves_nothing(
    sample: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Any, tree: Any
) -> None:
    monkeypatch.setattr("featurecache.shards.header.MAX_USER_BLOCK", 64)
    with refused("class names"), sample.writer(tmp_path):
        pass
    assert tree(tmp_path) == {}


@pytest.mark.usefixtures("handles")
def test_what_the_disk_gives_back_is_compared(
    sample: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    def spoil(file: Path, start: int) -> None:
        with file.open("r+b") as part:
            part.seek(start)
            part.write(b"\x55")

    part = tmp_path / "train" / "00000.h5.part"
    with refused("00000.h5.part", "logits of rows 2", "run the same"), sample.writer(tmp_path) as writer:
        for number in range(2):
            writer.write(number, sample.block(number))
        spoil(part, read_header(part).span("logits", 1)[0])
        writer.finish()
    # The sound block stays; the other is made again.
    with sample.writer(tmp_path) as writer:
        assert writer.missing == [1]
        writer.write(1, sample.block(1))
        writer.finish()
    assert (tmp_path / "train" / "00000.h5").read_bytes() == sample.save(tmp_path / "d").read_bytes()
