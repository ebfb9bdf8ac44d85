"""What an interrupted training leaves, and who may go on with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import torch

from featurecache.shards.lock import BeingWritten, Lock
from rebalance_cli.training.kept import alone, kept_beside, saying_how_to_go_on

Refused = Callable[..., str]


def test_two_trainings_of_one_file_are_kept_apart(project: Any, tmp_path: Path, refused: Refused) -> None:
    lock = Lock(tmp_path / "x.pt")
    try:
        line = refused("train", project.photos / "val", "--out", tmp_path / "x.pt", "--epochs", 1, holds=("x.pt",))
    finally:
        lock.release()
    assert f"process {os.getpid()}" in line


def test_the_lock_goes_with_the_training(tmp_path: Path) -> None:
    out = tmp_path / "x.pt"
    with alone(out), pytest.raises(BeingWritten):
        Lock(out)
    assert list(tmp_path.iterdir()) == []


def test_other_processes_of_one_job_hold_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with alone(tmp_path / "x.pt"):
        assert list(tmp_path.iterdir()) == []


def test_an_interruption_says_how_to_go_on(tmp_path: Path) -> None:
    context = click.Context(click.Command("train"))
    context.meta["rebalance.words"] = ["train", "my photos", "--out", "x.pt"]
    kept = kept_beside(tmp_path / "x.pt")
    assert kept.name == "x.pt.training"
    torch.save({}, kept)
    with context.scope(), pytest.raises(KeyboardInterrupt) as stop, saying_how_to_go_on(kept):
        raise KeyboardInterrupt
    assert stop.value.__notes__ == ["0 whole epochs safe; to go on: rebalance train 'my photos' --out x.pt"]
