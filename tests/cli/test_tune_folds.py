"""Tuning in folds: the rows of the fit judge in turn, where the backbone never saw them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from featurecache import FeatureCache, write
from rebalance import tune as library_tune

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


@pytest.fixture
def unseen(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), (20, 8, 3))
    rows = random.normal(size=(31, 4)).astype(np.float32) + np.eye(3, 4, dtype=np.float32)[labels] * 2
    write(tmp_path / "x.cache", "train", rows, labels, seen=False)
    return tmp_path / "x.cache"


def test_the_command_is_the_library(unseen: Path, tmp_path: Path, answer: Answer) -> None:
    train = FeatureCache(unseen)["train"]
    best = library_tune("crt", None, train.features, train.labels, folds=3, seen=False, seed=4, grid={"seed": [4]})
    found = answer("tune", "crt", unseen, "--out", tmp_path / "h.safetensors", "--folds", 3, "--seed", 4)
    assert found["curve"] == best.curve
    record = found["record"]
    assert record["tuned"]["folds"] == 3
    assert (record["fitted_on"], record["tuned_on"], record["tuned_on_seen"]) == ("train", "train", False)


def test_rows_that_were_seen_are_refused(project: Any, tmp_path: Path, refused: Refused, answer: Answer) -> None:
    words = ("--out", tmp_path / "h.safetensors", "--folds", 3)
    refused("tune", "crt", project.cache, *words, holds=("train cannot tune", "--allow-seen"))
    assert answer("tune", "crt", project.cache, *words, "--allow-seen")["record"]["tuned_on_seen"] is True


def test_another_split_cannot_take_turns(project: Any, tmp_path: Path, misused: Refused) -> None:
    words = ("--out", tmp_path / "h.safetensors", "--folds", 3, "--on", "val")
    misused("tune", "crt", project.cache, *words, holds=("rows of train", "--on"))


def test_a_method_that_fits_nothing_has_no_folds(project: Any, tmp_path: Path, refused: Refused) -> None:
    refused(
        "tune", "tau_norm", project.cache, "--out", tmp_path / "h.safetensors", "--folds", 3, holds=("fits nothing",)
    )


def test_what_folds_cannot_tell_is_said(tmp_path: Path, done: Run) -> None:
    rows, labels = np.eye(9, 4, dtype=np.float32), np.array([0, 0, 0, 0, 1, 1, 1, 1, 2])
    write(tmp_path / "y.cache", "train", rows, labels, seen=False)
    result = done("tune", "ncm", tmp_path / "y.cache", "--out", tmp_path / "h.safetensors", "--folds", 2)
    assert "1 of 3 classes have a single row, judged by a head that never saw the class" in result.stderr
    assert result.stderr.count("\n") == 1
