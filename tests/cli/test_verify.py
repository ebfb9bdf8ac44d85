"""What `rebalance verify` says of sound, damaged and unfinished caches."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from featurecache import FeatureCache, write

ROWS = {"train": 47, "val": 16, "test": 24}  # of the project

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]


@pytest.fixture
def copy(project: Any, tmp_path: Path) -> Path:
    """A cache to damage."""
    shutil.copytree(project.cache, tmp_path / "x.cache")
    return tmp_path / "x.cache"


def turn(file: Path, place: int) -> None:
    """Turn one bit of a file."""
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def offset(cache: Path, split: str, column: str) -> int:
    """Where a column begins in the split's first file."""
    return FeatureCache(cache)[split].shards[0].header.columns[column].offset


def test_a_sound_cache(project: Any, done: Run, answer: Answer) -> None:
    lines = done("verify", project.cache).stdout.splitlines()
    assert lines[:3] == [f"{name}: {rows} rows are what was written" for name, rows in ROWS.items()]
    assert lines[3].startswith("nothing bad in ")
    found = answer("verify", project.cache)
    assert (found["sound"], found["bad"], found["unfinished"]) == (ROWS, [], [])
    assert found["bytes"] == sum(file.stat().st_size for file in project.cache.glob("*/*.h5"))


def test_every_damage_is_named_and_the_exit_code_is_1(copy: Path, run: Run) -> None:
    turn(copy / "train" / "00000.h5", offset(copy, "train", "features") + 2 * 64 * 7)
    turn(copy / "test" / "00000.h5", offset(copy, "test", "logits"))
    turn(copy / "head.safetensors", -1)
    result = run("verify", copy)
    assert result.exit_code == 1
    assert "val: 16 rows are what was written" in result.stdout
    assert "train: 47" not in result.stdout
    for part in ("train/00000.h5: features of rows 0..46:", "test/00000.h5: logits of rows 0..", "head.safetensors"):
        assert part in result.stdout
    assert result.stdout.endswith("3 bad\n")


def test_a_file_that_cannot_be_opened_hides_no_other(copy: Path, run: Run) -> None:
    (copy / "val" / "00000.h5").write_bytes(b"nothing")
    turn(copy / "test" / "00000.h5", offset(copy, "test", "labels"))
    result = run("verify", copy, "--json")
    assert result.exit_code == 1
    for part in ('"sound": {"train": 47}', "val/00000.h5", "not a shard", '"column": "labels"'):
        assert part in result.stdout


def test_what_is_there_of_an_unfinished_split_is_looked_at(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featurecache.plan.SHARD_BYTES", 1)
    monkeypatch.setattr("featurecache.writing.table.BLOCK_ROWS", 2)
    cache = tmp_path / "c"
    write(cache, "train", np.ones((6, 2), np.float32), np.zeros(6, int))
    (cache / "train" / "00002.h5").unlink()
    result = run("verify", cache)
    assert result.exit_code == 1
    assert "train: unfinished, 2 of 3 files are there" in result.stdout
    assert "nothing bad in" in result.stdout
    FeatureCache(cache, verify=True)
    (cache / "train" / "00001.h5").write_bytes(b"x")
    result = run("verify", cache)
    assert result.exit_code == 1
    assert "train/00001.h5: the file of rows 2..3: not a shard" in result.stdout
    with pytest.raises(ValueError, match=r"00001\.h5"):
        FeatureCache(cache, verify=True)


def test_a_lost_file_is_said(copy: Path, run: Run) -> None:
    (copy / "val" / "00000.h5").unlink()
    result = run("verify", copy)
    assert result.exit_code == 1
    assert "val: unfinished, 0 of 1 files are there" in result.stdout
    assert result.stdout.endswith("not whole: val\n")


@pytest.mark.parametrize("command", [["fit", "crt"], ["tune", "tau_norm"], ["evaluate"]], ids=" ".join)
def test_commands_notice_damage_before_they_use_a_split(command: list[str], copy: Path, refused: Any) -> None:
    split = {"fit": "train", "tune": "val", "evaluate": "test"}[command[0]]
    turn(copy / split / "00000.h5", offset(copy, split, "features") + 1)
    out = ["--out", copy / "h.safetensors"] if command[0] != "evaluate" else []
    refused(*command, copy, *out, holds=(f"{split}/00000.h5", "features of rows 0..", "checksum"))


def test_nothing_is_written(copy: Path, done: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    done("verify", copy)
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before
