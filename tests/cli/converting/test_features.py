"""Foreign features into a cache, and a cache into foreign formats, by command."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result

from featurecache import FeatureCache

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


def test_in(archive: Path, tmp_path: Path, done: Run) -> None:
    text = done("convert", archive, tmp_path / "y.cache", "--map", "labels=classes,features=feats").stdout
    assert text.splitlines() == [
        f"{archive}: a .npz file",
        f"{tmp_path / 'y.cache'}: train read, 12 rows, 4 features, 3 classes, with logits, 2 rows without a label",
    ]
    split = FeatureCache(tmp_path / "y.cache")["train"]
    np.testing.assert_array_equal(split.features, np.arange(48).reshape(12, 4))
    assert (split.features.dtype, split.seen) == (np.float16, True)


def test_in_with_everything(archive: Path, tmp_path: Path, project: Any, answer: Answer) -> None:
    names = tmp_path / "names.txt"
    names.write_text("käfer\r\nfox\nelk\nowl\n", "utf-8")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"feats": np.ones((5, 64)), "y": np.array([3, 0, 1, 2, 3])}, 4))
    found = answer(
        "convert", tmp_path / "x.pkl", tmp_path / "y.cache", "--split", "pool", "--dtype", "float32",
        "--head", project.heads["crt"], "--class-names", names, "--seen", "no", "--map", "labels=y",
    )  # fmt: skip
    assert found == {
        "source": str(tmp_path / "x.pkl"),
        "format": "a .pkl file of NumPy arrays",
        "target": str(tmp_path / "y.cache"),
        "files": [],
        "rows": {"pool": 5},
        "width": 64,
        "classes": 4,
        "logits": False,
        "unlabelled": 0,
    }
    cache = FeatureCache(tmp_path / "y.cache")
    assert cache.class_names == ("käfer", "fox", "elk", "owl")
    assert cache.has_head
    assert (cache["pool"].seen, cache["pool"].features.dtype) == (False, np.float32)


def test_out(cache: Path, tmp_path: Path, done: Run) -> None:
    out = tmp_path / "out.npz"
    text = done("convert", cache, out).stdout
    assert text.splitlines() == [
        f"{cache}: feature cache",
        f"{out}: train written, 6 rows, 3 features, 2 classes",
        f"{out}: val written, 4 rows, 3 features, 2 classes",
        f"  {out / 'train.npz'}",
        f"  {out / 'val.npz'}",
    ]
    with np.load(out / "val.npz") as found:
        np.testing.assert_array_equal(found["labels"], [0, 1, 0, 1])


def test_out_and_in_again(cache: Path, tmp_path: Path, answer: Answer) -> None:
    files = answer("convert", cache, tmp_path / "out", "--to", "npz")["files"]
    assert answer("convert", files[0], tmp_path / "again.cache")["rows"] == {"train": 6}


class TestRefused:
    """What cannot be converted."""

    def test_columns_that_are_not_known(self, archive: Path, tmp_path: Path, refused: Refused) -> None:
        refused("convert", archive, tmp_path / "o", "--map", "features=f", holds=("x.npz", "'feats' (12, 4)"))

    def test_sources(self, tmp_path: Path, refused: Refused) -> None:
        refused("convert", tmp_path / "x.npz", tmp_path / "o", holds=("x.npz does not exist", "a .npz file"))
        (tmp_path / "x.txt").touch()
        refused("convert", tmp_path / "x.txt", tmp_path / "o", holds=("x.txt is in none of the known formats",))

    def test_a_target_that_is_there(self, cache: Path, archive: Path, refused: Refused) -> None:
        refused("convert", cache, archive, holds=("x.npz exists already",))
        refused("convert", archive, cache, "--map", "features=feats", holds=("x.cache",))

    def test_a_damaged_cache_is_not_passed_on(self, cache: Path, tmp_path: Path, refused: Refused) -> None:
        shard = cache / "val" / "00000.h5"
        data = bytearray(shard.read_bytes())
        place = data.index(np.ones(3, np.float16).tobytes(), 4096)
        data[place] ^= 1
        shard.write_bytes(data)
        refused("convert", cache, tmp_path / "out.npz", holds=("val",))
        assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("form", ["npz", "h5"])
def test_what_was_written_is_read_back_with_its_head(form: str, project: Any, tmp_path: Path, done: Run) -> None:
    done("convert", project.cache, tmp_path / "out", "--to", form)
    text = done("convert", tmp_path / "out", tmp_path / "back.cache").stdout
    assert [line.split()[1] for line in text.splitlines()[1:]] == ["train", "val", "test"]
    one, two = FeatureCache(project.cache), FeatureCache(tmp_path / "back.cache", verify=True)
    for name in one:
        assert np.array_equal(one[name].features, two[name].features)
        assert np.array_equal(one[name].labels, two[name].labels)
    if form == "h5":  # its head lies beside it
        assert torch.equal(one.head[0], two.head[0])


def test_a_folder_of_nothing_known_is_refused(tmp_path: Path, refused: Any) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.txt").touch()
    refused("convert", tmp_path / "x", tmp_path / "c", holds=("none of the known formats",))
