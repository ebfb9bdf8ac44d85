"""Which cache a head belongs to, and which of its rows are taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featurecache import FeatureCache, write
from rebalance import LinearHead, load_head
from rebalance_cli.exporting.belonging import absent, cache_of, split_of


def made(path: Path, *splits: str, seed: int = 0) -> FeatureCache:
    """A cache of a few rows; one seed, one hash."""
    random = np.random.default_rng(seed)
    head = torch.from_numpy(random.normal(size=(3, 4)).astype(np.float32)), torch.zeros(3)
    for split in splits or ("train",):
        write(path, split, random.normal(size=(6, 4)).astype(np.float32), np.arange(6) % 3, head=head)
    return FeatureCache(path)


def saved(path: Path, cache: FeatureCache) -> tuple[LinearHead, Path]:
    """A head of a cache in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    LinearHead(torch.ones(3, 4), record={"cache": cache.hash}).save(path)
    return load_head(path), path


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.mark.parametrize(
    ("cache", "head"),
    [
        ("a/x.cache", "a/h.safetensors"),
        ("a/x.cache", "a/x.heads/h.safetensors"),
        ("a/x.cache", "a/x.cache/h.safetensors"),
        ("model/x.cache", "a/h.safetensors"),
        ("work/anything", "a/h.safetensors"),
    ],
)
def test_it_is_found_near(cache: str, head: str, tmp_path: Path, cwd: Path) -> None:
    made(tmp_path / "a" / "other.cache", seed=1)
    (tmp_path / "a" / "broken.cache").mkdir()
    (tmp_path / "a" / "broken.cache" / "cache.json").write_text("{", "utf-8")
    opened, path = saved(tmp_path / head, made(tmp_path / cache))
    found = cache_of(opened, path, tmp_path / "model" / "joint.pt", None)
    assert found is not None
    assert found.path == tmp_path / cache


@pytest.mark.usefixtures("cwd")
class TestNotFound:
    """No cache is taken that is not the head's own."""

    def test_far_away(self, tmp_path: Path) -> None:
        head, path = saved(tmp_path / "a" / "h.safetensors", made(tmp_path / "b" / "c" / "x.cache"))
        assert cache_of(head, path, None, None) is None
        assert "--cache, or pass --unproved" in absent(head, path)
        assert str(head.record["cache"])[:11] in absent(head, path)

    def test_of_a_head_that_does_not_say(self, tmp_path: Path) -> None:
        made(tmp_path / "x.cache")
        LinearHead(torch.ones(3, 4)).save(tmp_path / "h.safetensors")
        head = load_head(tmp_path / "h.safetensors")
        assert cache_of(head, tmp_path / "h.safetensors", None, None) is None
        assert cache_of(head, tmp_path / "h.safetensors", None, tmp_path / "x.cache") is not None
        assert "on rows of its features" in absent(head, tmp_path / "h.safetensors")

    def test_one_that_is_named_and_another_s_is_refused(self, tmp_path: Path) -> None:
        other = made(tmp_path / "other.cache", seed=1)
        head, path = saved(tmp_path / "h.safetensors", made(tmp_path / "x.cache"))
        with pytest.raises(ValueError, match="fitted on features of another model"):
            cache_of(head, path, None, other.path)


@pytest.mark.parametrize(
    ("splits", "taken"),
    [(("train", "val", "test"), "test"), (("train", "val"), "val"), (("b", "a"), "b")],
)
def test_rows_are_of_test_else_of_val_else_of_the_first(splits: tuple[str, ...], taken: str, tmp_path: Path) -> None:
    assert split_of(made(tmp_path / "x.cache", *splits)) == taken


def test_an_unfinished_split_is_passed_over(tmp_path: Path) -> None:
    cache = made(tmp_path / "x.cache", "val", "test")
    (tmp_path / "x.cache" / "test" / "00000.h5").unlink()
    assert split_of(cache) == "val"
    (tmp_path / "x.cache" / "val" / "00000.h5").unlink()
    with pytest.raises(ValueError, match="no split is complete"):
        split_of(cache)


def test_a_head_of_the_commands_is_found(project: Any) -> None:
    path = project.heads["crt"]
    found = cache_of(load_head(path), path, None, None)
    assert found is not None
    assert found.path == project.cache
