"""What commands hand from the cache to the heads."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featurecache import FeatureCache, write
from rebalance import LinearHead
from rebalance_cli.caches import cached_head, counts_keyword, open_head, provenance, train_counts, versions

Refused = Callable[..., str]

CPU = torch.device("cpu")


@pytest.fixture
def bare(tmp_path: Path) -> FeatureCache:
    """A cache of six rows, five features and three classes without a head and without a split called train."""
    labels = np.array([0, 0, 1, 1, 2, 2])
    write(tmp_path / "bare.cache", "all", np.eye(6, 5, dtype=np.float32), labels)
    return FeatureCache(tmp_path / "bare.cache")


def test_the_cached_head_is_the_joint_one_and_says_so(project: Any) -> None:
    cache = FeatureCache(project.cache)
    head = cached_head(cache, CPU)
    assert head is not None
    weight, bias = cache.head
    assert torch.equal(head.weight, weight)
    assert torch.equal(head.bias, bias)
    assert head.record == {"method": "joint", "hyperparameters": {}, **provenance(cache)}


def test_a_cache_without_head_or_training_rows(bare: FeatureCache) -> None:
    assert cached_head(bare, CPU) is None
    assert train_counts(bare) is None
    assert provenance(bare)["joint"] is None
    assert provenance(bare)["class_names"] is None


def test_methods_that_need_counts_get_those_of_train(project: Any, bare: FeatureCache) -> None:
    cache = FeatureCache(project.cache)
    assert counts_keyword("logit_adjust", cache)["counts"].tolist() == cache.counts.tolist()
    assert counts_keyword("tau_norm", cache) == counts_keyword("tau_norm", bare) == {}
    assert counts_keyword("cosine", cache) == {}  # it counts the rows it is fitted on
    with pytest.raises(ValueError, match=r"no split called train, .* multiplicative needs; there are: all"):
        counts_keyword("multiplicative", bare)


def test_provenance_is_the_caches(project: Any) -> None:
    cache = FeatureCache(project.cache)
    found = provenance(cache)
    assert found["cache"] == cache.hash
    assert found["layer"] == "classifier"
    assert found["joint"] == cache.plan.specification["head"]
    assert found["class_names"] == ["cat", "dog", "eel", "fox"]
    assert found["transform"] == cache.plan.specification["transform"]
    assert found["versions"] == versions()


def test_versions_are_those_installed() -> None:
    assert versions() == {
        name: importlib.metadata.version(name) for name in ("featurecache-rebalance", "torch", "numpy")
    }


def test_train_counts(project: Any) -> None:
    counts = train_counts(FeatureCache(project.cache))
    assert counts is not None
    assert counts.tolist() == [27, 13, 5, 2]  # a tenth of each class is held out, at least one


def test_a_head_of_this_cache_opens(project: Any) -> None:
    head = open_head(project.heads["crt"], FeatureCache(project.cache), CPU)
    assert head.record["method"] == "crt"


def test_a_head_without_a_record_opens_where_it_fits(project: Any, tmp_path: Path) -> None:
    LinearHead(torch.ones(4, 64)).save(tmp_path / "h.safetensors")
    head = open_head(tmp_path / "h.safetensors", FeatureCache(project.cache), CPU)
    assert torch.equal(head.weight, torch.ones(4, 64))


@pytest.mark.parametrize(("classes", "width"), [(4, 63), (5, 64)])
def test_a_head_of_another_size_is_refused(classes: int, width: int, project: Any, tmp_path: Path) -> None:
    LinearHead(torch.ones(classes, width)).save(tmp_path / "h.safetensors")
    with pytest.raises(ValueError, match=f"a head of {classes} classes on {width} features; .* 4 classes on 64"):
        open_head(tmp_path / "h.safetensors", FeatureCache(project.cache), CPU)


def test_a_head_of_another_cache_is_refused(project: Any, tmp_path: Path) -> None:
    LinearHead(torch.ones(4, 64), record={"cache": "f" * 64}).save(tmp_path / "h.safetensors")
    with pytest.raises(ValueError, match=r"another model or extraction \(cache ffffffffffff, .*fit it again on"):
        open_head(tmp_path / "h.safetensors", FeatureCache(project.cache), CPU)


@pytest.mark.parametrize("command", ["fit", "tune"])
def test_a_head_that_would_lack_the_last_classes_is_refused(command: str, tmp_path: Path, refused: Refused) -> None:
    random = np.random.default_rng(0)
    for split, classes in (("train", 2), ("val", 3)):
        rows = random.normal(size=(30, 4)).astype(np.float32)
        write(tmp_path / "c", split, rows, np.arange(30) % classes, class_names=["a", "b", "é"], seen=False)
    refused(
        command, "ncm", tmp_path / "c", "--out", tmp_path / "h.safetensors",
        holds=("class 'é' (2)", "no row in train", "1 of 3", "no joint head"),
    )  # fmt: skip
    assert not (tmp_path / "h.safetensors").exists()
