"""What an extraction says when it is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result

from featurecache import FeatureCache
from featurecache.extract import Extraction
from featurecache.extraction.forward import OutOfMemory
from rebalance_cli.extracting.extracted import show

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]

PLAIN = {
    "cache": "c",
    "seconds": 0.0,
    "written": {},
    "complete_already": [],
    "unfinished": {},
    "stages": {},
    "bad_images": {},
    "accuracy": {},
}


def test_where_the_time_went_and_how_fast_it_was(project: Any, tmp_path: Path, done: Run, answer: Answer) -> None:
    words = ("--model", f"run:{project.model}", "--split", f"test={project.photos / 'test'}")
    lines = done("extract", tmp_path / "c", *words).stdout.splitlines()
    assert "rows/s), layer 'classifier', batches of 64" in lines[0]
    assert lines[1].startswith("time: loading ")
    assert "took longest" in lines[1]
    assert lines[2].startswith("inputs read as: shorter side to")
    made = answer("extract", tmp_path / "d", *words)
    assert set(made["stages"]) == {"decode", "forward", "write"}
    assert made["rows_per_second"] == pytest.approx(24 / made["seconds"], rel=0.1)  # both are rounded


def test_only_some_bad_images_are_listed(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    bad = [{"sample": f"{i}.png", "reason": None if i else "image 0.png is torn"} for i in range(9)]
    show({**PLAIN, "bad_images": {"train": bad}}, FeatureCache(project.cache), (20, 100))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("train: 9 images could not be read")
    assert lines[1:] == [
        "  image 0.png is torn",
        *[f"  {i}.png" for i in range(1, 5)],
        "  and 4 more (--json names all)",
    ]


def test_more_workers_are_advised_where_images_are_the_limit(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    done = {**PLAIN, "written": {"train": 9}, "seconds": 3.0, "rows_per_second": 3.0}
    done |= {"layer": None, "head": False, "batch_size": 4}
    for decode, advised in ((2.9, True), (0.1, False)):
        stages = {"decode": decode, "forward": 1.0, "write": 0.2}
        show({**done, "stages": stages}, FeatureCache(project.cache), (20, 100))
        out = capsys.readouterr().out
        assert ("more --workers may help" in out) == advised
        assert "no head, output of the model" in out


def test_a_full_device_says_the_command_that_goes_on(
    project: Any, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Extraction:
        raise OutOfMemory(48, torch.device("cuda"))

    monkeypatch.setattr("featurecache.extract", full)
    words = ("--model", f"run:{project.model}", "--split", f"test={project.photos / 'test'}")
    line = refused(
        "extract", tmp_path / "c", "--batch-size", "48", *words, holds=("cuda", "48 rows", "0 rows are safe")
    )
    assert line.endswith(f"--split test={project.photos / 'test'} --batch-size 24")
    assert "--batch-size 48" not in line


def test_of_many_rows_some_are_judged_and_it_is_said(
    project: Any, tmp_path: Path, done: Run, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--model", f"run:{project.model}", "--split", f"test={project.photos / 'test'}")
    every = answer("extract", tmp_path / "c", *words)["accuracy"]["test"]
    assert every["rows"] == 24
    assert answer("extract", tmp_path / "d", *words, "--logits", "none")["accuracy"]["test"]["top1"] == every["top1"]
    monkeypatch.setattr("rebalance_cli.extracting.extracted.JUDGED", 10)
    assert answer("extract", tmp_path / "c", *words)["accuracy"]["test"]["rows"] == 10
    assert " 10 of 24 " in done("extract", tmp_path / "c", *words).stdout
