"""What `rebalance info` shows of a cache."""

from __future__ import annotations

import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result

from featurecache import FeatureCache, write

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


def row(text: str, first: str) -> list[str]:
    """The cells of the one row that begins so."""
    (found,) = [line.split() for line in text.splitlines() if line.split()[:1] == [first]]
    return found


def test_splits_classes_and_provenance(project: Any, done: Run) -> None:
    text = done("info", project.cache).stdout
    for name, rows, seen in (("train", "47", "yes"), ("val", "16", "no")):
        size = f"{(project.cache / name / '00000.h5').stat().st_size / 1000:.1f}"
        assert row(text, name) == [name, rows, f"{rows}×64", "float16", f"{rows}×4", size, "kB", seen]
    assert [row(text, name) for name in ("cat", "dog", "eel", "fox")] == [
        ["cat", "27", "4", "6"],
        ["dog", "13", "4", "6"],
        ["eel", "5", "4", "6"],
        ["fox", "2", "4", "6"],
    ]
    assert f"specification {FeatureCache(project.cache).hash[:16]}\n" in text
    assert row(text, "layer") == ["layer", "classifier"]
    assert row(text, "model") == ["model", "run:joint.pt"]
    assert row(text, "made")[:4] == ["made", "with", "device", "cpu,"]
    assert f"torch {torch.__version__}" in text


def test_json_is_what_the_cache_describes(project: Any, answer: Answer) -> None:
    assert answer("info", project.cache) == FeatureCache(project.cache).describe()


def test_nothing_is_written(project: Any, done: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in project.cache.rglob("*")}
    done("info", project.cache)
    assert {path: path.stat().st_mtime_ns for path in project.cache.rglob("*")} == before


def test_many_classes_are_cut_in_the_middle_and_sorted_by_training_rows(tmp_path: Path, done: Run) -> None:
    labels = np.repeat(np.arange(20), np.arange(1, 21))
    names = [f"class{k:02}" for k in range(20)]
    write(tmp_path / "x.cache", "train", np.ones((len(labels), 3), np.float32), labels, class_names=names)
    text = done("info", tmp_path / "x.cache").stdout
    shown = [line.split()[0] for line in text.splitlines() if line.startswith("class") and "train" not in line]
    assert shown == [f"class{k:02}" for k in (19, 18, 17, 16, 15, 14, 5, 4, 3, 2, 1, 0)]
    assert "… 8 more" in text


def test_strangers_names_never_reach_the_terminal(tmp_path: Path, done: Run) -> None:
    names = ["\x1b[31mred\x1b[0m", "rtl\u202egod", "[bold]x[/bold]", "two\nlines"]
    write(tmp_path / "x.cache", "train", np.eye(4, dtype=np.float32), np.arange(4), class_names=names)
    text = done("info", tmp_path / "x.cache").stdout
    for name in ("\ufffd[31mred\ufffd[0m", "rtl\ufffdgod", "[bold]x[/bold]", "two\ufffdlines"):
        assert f"\n{name} " in text
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.fixture
def lost(project: Any, tmp_path: Path) -> Path:
    """A copy of the cache that lost the file of train."""
    shutil.copytree(project.cache, tmp_path / "lost.cache")
    (tmp_path / "lost.cache" / "train" / "00000.h5").unlink()
    return tmp_path / "lost.cache"


def test_an_unfinished_cache_is_shown_and_not_used(lost: Path, done: Run, answer: Answer, refused: Refused) -> None:
    text = done("info", lost).stdout
    assert "train is unfinished: 0 of 47 rows are there, 1 of 1 files to finish" in text
    assert row(text, "val")[1] == "16"
    found = answer("info", lost)["splits"]
    assert [found[name]["complete"] for name in ("train", "val", "test")] == [False, True, True]
    refused(
        "fit", "crt", lost, "--out", lost.with_name("h.safetensors"), holds=("train/00000.h5", "'train' is incomplete")
    )
    refused("evaluate", lost, "--split", "train", holds=("'train' is incomplete",))


def test_heads_that_need_no_training_rows_are_judged_without_them(lost: Path, project: Any, run: Run) -> None:
    result = run("evaluate", lost, project.heads["crt"], "--split", "test")
    assert result.exit_code == 1  # the groups need the training counts, so this says what is missing
    assert "'train' is incomplete" in result.stderr


def test_a_lost_description_is_made_again(project: Any, tmp_path: Path, done: Run, refused: Refused) -> None:
    shutil.copytree(project.cache, tmp_path / "x.cache")
    file = tmp_path / "x.cache" / "cache.json"
    before = file.read_bytes()
    file.unlink()
    refused("info", tmp_path / "x.cache", holds=("without cache.json", "--rebuild"))
    result = done("info", tmp_path / "x.cache", "--rebuild")
    assert "cache.json: made again, with train, val, test" in result.stderr
    assert file.read_bytes() == before
    assert done("info", project.cache).stdout == result.stdout
    refused("info", tmp_path / "nowhere", "--rebuild", holds=("nowhere", "no such folder"))
    (tmp_path / "empty").mkdir()
    refused("info", tmp_path / "empty", "--rebuild", holds=("empty", "no shard"))


class TestRefused:
    """What is no cache of this release."""

    @pytest.mark.parametrize("command", [["info"], ["evaluate"], ["fit", "crt"], ["tune", "tau_norm"]], ids=" ".join)
    def test_no_cache(self, command: list[str], tmp_path: Path, refused: Refused) -> None:
        out = ["--out", tmp_path / "h.safetensors"] if command[0] in ("fit", "tune") else []
        (tmp_path / "file").touch()
        (tmp_path / "folder").mkdir()
        refused(*command, tmp_path / "nowhere", *out, holds=("nowhere", "no such cache", "rebalance extract"))
        refused(*command, tmp_path / "file", *out, holds=("file", "not a feature cache"))
        refused(*command, tmp_path / "folder", *out, holds=("folder", "not a feature cache", "cache.json"))

    @pytest.mark.parametrize("text", ["", "{}", "[1]", "\x00", '{"format": "featurecache", "schema": [2, 0]}'])
    def test_a_description_that_is_none(self, text: str, project: Any, tmp_path: Path, refused: Refused) -> None:
        shutil.copytree(project.cache, tmp_path / "x.cache")
        (tmp_path / "x.cache" / "cache.json").write_text(text)
        refused("info", tmp_path / "x.cache", holds=("cache.json",))

    def test_a_damaged_shard(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        shutil.copytree(project.cache, tmp_path / "x.cache")
        shard = tmp_path / "x.cache" / "val" / "00000.h5"
        shard.write_bytes(shard.read_bytes()[:5000])
        refused("info", tmp_path / "x.cache", holds=("val/00000.h5",))

    def test_a_shard_that_says_it_is_another(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        shutil.copytree(project.cache, tmp_path / "x.cache")
        shard = tmp_path / "x.cache" / "val" / "00000.h5"
        data = bytearray(shard.read_bytes())
        length = struct.unpack_from("<I", data, 8)[0]
        text = bytes(data[16 : 16 + length]).replace(b'"split":"val"', b'"split":"vol"')
        struct.pack_into("<I", data, 12, zlib.crc32(text))
        data[16 : 16 + length] = text
        shard.write_bytes(data)
        refused("info", tmp_path / "x.cache", holds=("val/00000.h5", "another cache or split"))
