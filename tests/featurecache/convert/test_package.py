"""Foreign files into caches and back."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featurecache import FeatureCache
from featurecache.convert import FORMATS, convert_in, convert_out, format_of

READABLE = {"npz": "train.npz", "npy": "train", "parquet": "train.parquet", "h5": "train.h5"}


@pytest.mark.parametrize("name", [each.name for each in FORMATS if each.save])
def test_what_is_written_is_read_back(name: str, tmp_path: Path, cache: FeatureCache, tree: Any) -> None:
    if name in ("parquet", "npy"):
        pytest.importorskip("pyarrow")
    files = convert_out(cache, tmp_path / "out", to=name)
    assert sorted(tree(tmp_path / "out")) == sorted(str(file.relative_to(tmp_path / "out")) for file in files)
    source = tmp_path / "out" / READABLE[name]
    found = convert_in(source, tmp_path / "back.cache", "train", head=cache.head, dtype="float32", seen=True)
    assert found.name == name
    before, after = cache["train"], FeatureCache(tmp_path / "back.cache")["train"]
    for column in ("features", "logits", "labels", "index", "sample_id"):
        np.testing.assert_array_equal(getattr(after, column), getattr(before, column), err_msg=column)


def test_the_ending_says_the_format(tmp_path: Path, cache: FeatureCache) -> None:
    assert convert_out(cache, tmp_path / "out.NPZ") == [tmp_path / "out.NPZ" / f"{name}.npz" for name in cache]


def test_without_labels_every_row_is_unlabelled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((5000, 3), np.float32))
    convert_in(tmp_path / "x.npy", tmp_path / "x.cache", "pool", seen=False)
    split = FeatureCache(tmp_path / "x.cache")["pool"]
    assert len(split) == 5000
    assert set(split.labels.tolist()) == {-1}
    assert split.seen is False


def test_splits_are_added_to_one_cache(tmp_path: Path, columns: Any) -> None:
    np.savez(tmp_path / "x.npz", **columns)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"feats": columns["features"], "scores": columns["logits"]}, 4))
    torch.save({name: torch.tensor(columns[name]) for name in ("features", "logits")}, tmp_path / "x.pt")
    for split, file in {"train": "x.npz", "val": "x.pkl", "test": "x.pt"}.items():
        convert_in(tmp_path / file, tmp_path / "x.cache", split, class_names=["a", "b", "c"])
    cache = FeatureCache(tmp_path / "x.cache")
    assert list(cache) == ["train", "val", "test"]
    for split in cache.values():
        np.testing.assert_array_equal(split.features, columns["features"].astype(np.float16))


class TestRefused:
    """What is neither read nor written."""

    @pytest.mark.parametrize("name", ["missing.npy", "x.bin", "folder", "some.cache", "a.safetensors"])
    def test_sources_of_no_format(self, name: str, tmp_path: Path, cache: FeatureCache, refused: Any) -> None:
        (tmp_path / "folder").mkdir()
        for file in ("x.bin", "a.safetensors"):
            (tmp_path / file).touch()
        with refused(name, "expected a .npy file"):
            convert_in(tmp_path / name, tmp_path / "new.cache", "train")
        assert not (tmp_path / "new.cache").exists()

    def test_a_damaged_source_leaves_no_cache(self, tmp_path: Path, columns: Any, refused: Any) -> None:
        np.savez(tmp_path / "x.npz", features=np.ones((9000, 3)), labels=np.zeros(9000, int))
        data = bytearray((tmp_path / "x.npz").read_bytes())
        data[-40_000] ^= 1  # in a late block
        (tmp_path / "x.npz").write_bytes(data)
        with refused("x.npz", "damaged"):
            convert_in(tmp_path / "x.npz", tmp_path / "new.cache", "train")
        assert not list(tmp_path.glob("new.cache/**/*.h5"))
        assert not (tmp_path / "new.cache" / "cache.json").exists()

    def test_targets(self, tmp_path: Path, cache: FeatureCache, refused: Any, tree: Any) -> None:
        (tmp_path / "file.npz").touch()
        with refused("file.npz", "exists already"):
            convert_out(cache, tmp_path / "file.npz")
        with refused("'out.csv' is no format", "npy, npz, h5, parquet"):
            convert_out(cache, tmp_path / "out.csv")
        with refused("'torch' is no format"):
            convert_out(cache, tmp_path / "out", to="torch")

    def test_nothing_is_left_of_a_failure(
        self, tmp_path: Path, cache: FeatureCache, failing: Any, tree: Any, refused: Any
    ) -> None:
        with failing("publish", at=2), refused("No space left", error=OSError):
            convert_out(cache, tmp_path / "out.npz")
        assert not (tmp_path / "out.npz").exists()

    def test_an_incomplete_split(self, tmp_path: Path, cache: FeatureCache, refused: Any) -> None:
        (cache.path / "val" / "00000.h5").unlink()
        with refused("val", "incomplete"):
            convert_out(FeatureCache(cache.path), tmp_path / "out.npz")
        assert not (tmp_path / "out.npz").exists()


def test_every_reader_is_found_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "folder" / "img_emb").mkdir(parents=True)
    for ending in ("npy", "npz", "pt", "pth", "pkl", "pickle", "h5", "hdf5", "parquet", "PARQUET"):
        (tmp_path / f"x.{ending}").touch()
    found = {format_of(path).usage for path in tmp_path.iterdir()}
    assert found == {each.usage for each in FORMATS if each.read}
