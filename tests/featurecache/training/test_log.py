"""The two files of the log."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from featurecache.training.log import COLUMNS, TrainLog


def line(epoch: int, score: float | None = 0.5) -> dict[str, Any]:
    return {"epoch": epoch, "lr": 0.1, "loss": 1 / 3, "score": score, "seconds": 1.5, "rows_per_second": 100.0}


def read(path: Path) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    with path.with_name("joint.log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, [json.loads(text) for text in path.with_name("joint.log.jsonl").read_text().splitlines()]


def test_both_hold_every_epoch_at_once(tmp_path: Path) -> None:
    path = tmp_path / "joint.log"
    log = TrainLog(path, [])
    assert read(path) == ([], [])
    for epoch in range(3):
        log.add(line(epoch))
        rows, lines = read(path)
        assert lines == [line(e) for e in range(epoch + 1)]
        assert [row["epoch"] for row in rows] == [str(e) for e in range(epoch + 1)]
        assert tuple(rows[0]) == COLUMNS
        assert float(rows[0]["loss"]) == 1 / 3


def test_what_is_known_is_there_once(tmp_path: Path) -> None:
    """A run that was stopped between its state and its log, or within a line of it."""
    path = tmp_path / "joint.log"
    TrainLog(path, [line(0), line(1), line(2)])
    path.with_name("joint.log.jsonl").write_text('{"epoch": 0')
    TrainLog(path, [line(0), line(1)]).add(line(2))
    rows, lines = read(path)
    assert lines == [line(0), line(1), line(2)]
    assert len(rows) == 3


def test_an_epoch_without_a_score_is_empty(tmp_path: Path) -> None:
    TrainLog(tmp_path / "joint.log", [line(0, None)])
    rows, lines = read(tmp_path / "joint.log")
    assert rows[0]["score"] == ""
    assert lines[0]["score"] is None


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TrainLog(tmp_path / "nowhere" / "joint.log", [])
