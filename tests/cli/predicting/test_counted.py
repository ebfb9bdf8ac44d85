"""Whose training rows a class are taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featurecache import FeatureCache, write
from rebalance import LinearHead
from rebalance_cli.predicting.counted import counted
from rebalance_cli.predicting.options import Through
from rebalance_cli.predicting.subject import Subject

REST = (False, None, None, ())
NOTHING = Through(None, None, *REST)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Of two named classes, in a folder of its own."""
    path = tmp_path / "caches" / "x.cache"
    path.parent.mkdir()
    write(path, "train", np.eye(4, dtype=np.float32), np.array([0, 0, 1, -1]), class_names=["a", "b"])
    return path


def subject(**changes: Any) -> Subject:
    """Images of two named classes."""
    values: dict[str, Any] = {"num_classes": 2, "class_names": ("a", "b"), "record": None} | changes
    return Subject(iter(()), 0, split_names=(), labelled=False, counts=None, where="nobody counted", **values)


def test_a_head_s_own_is_found_beside_the_weights(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a")
    name = str(tmp_path / "a" / "b" / "h.safetensors")
    LinearHead(torch.ones(2, 4), record={"cache": FeatureCache(cache).hash}).save(name)
    assert counted(subject(), name, NOTHING, None).counts is None
    weights = cache.parent / "m.pt"
    for through in (Through(f"run:{weights}", None, *REST), Through("timm:x", weights, *REST)):
        found = counted(subject(), name, through, None).counts
        assert found is not None
        assert found.tolist() == [2, 1]


def test_which_was_found_is_said_and_one_of_other_classes_is_none(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = str(cache.parent / "h.safetensors")
    for names, counts in ((["a", "b"], [2, 1]), (["b", "a"], None)):
        LinearHead(torch.ones(2, 4), record={"cache": FeatureCache(cache).hash, "class_names": names}).save(name)
        found = counted(subject(), name, NOTHING, None)
        assert (None if found.counts is None else found.counts.tolist()) == counts
        assert (f"training rows a class: those of {cache};" in capsys.readouterr().err) == (counts is not None)
    assert found.where == f"{cache} has the head's features, of other classes"
    with pytest.raises(ValueError, match="a head for other classes"):
        counted(subject(), name, NOTHING, cache)


def test_a_model_s_is_named(cache: Path, tmp_path: Path) -> None:
    for name in ("joint", "m.pt", "m.pt2"):
        assert counted(subject(), name, NOTHING, None).counts is None
        found = counted(subject(), name, NOTHING, cache).counts
        assert found is not None
        assert found.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_classes": 3, "class_names": None}, "2 classes; the model has 3"),
        ({"class_names": ("b", "a")}, "its class 'a' is 'b' for the model"),
        ({"record": {"cache": "another"}}, "made on the cache another"),
    ],
)
def test_one_of_others(changes: dict[str, Any], says: str, cache: Path) -> None:
    with pytest.raises(ValueError, match=f"--cache .*{says}"):
        counted(subject(**changes), "m.pt2", NOTHING, cache)


def test_one_without_training_rows(tmp_path: Path) -> None:
    write(tmp_path / "x.cache", "new", np.eye(2, dtype=np.float32), np.arange(2))
    found = counted(subject(), "joint", NOTHING, tmp_path / "x.cache")
    assert (found.counts, found.where) == (None, f"{tmp_path / 'x.cache'} has no split called train")
