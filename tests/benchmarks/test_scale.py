"""benchmarks/scale.py in miniature: its rows, what a command takes, slopes, a killed job, and the plan on paper."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import pytest
import torch

from featurecache import FeatureCache, layout
from rebalance_cli.main import cli

ROOT = Path(__file__).parents[2]
Parts = Callable[[str], Any]
CLASSES, WIDTH = 5, 8

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory and child processes are looked up in /proc")


@pytest.fixture(scope="module")
def found(parts: Parts) -> dict[str, Any]:
    """What a run might have measured: time linear, memory 50 bytes a row but for one task."""
    sizes = [10_000, 100_000, 300_000, 10_000_000]
    names = ("extract", *parts("growing.sizes").TASKS)
    growth = {name: [_run(rows, 90 if name == "crt" else 50) for rows in sizes for _ in range(2)] for name in names}
    for run in growth["extract"]:
        run |= {"pass_seconds": run["seconds"], "pass_processor": 0.9 * run["processor"]}
        run |= {"pass_anonymous": run["anonymous"], "anonymous": run["anonymous"] + 10**8}
    processes = [
        {"processes": world, "extracted": 1000, "extract_seconds": 2 / world, "ranks_seen": world}
        | {"fitted": 10_000, "fit_seconds": 4 / world, "start_seconds": 3.0}
        for world in (1, 2)
    ]
    killed = [{"worlds": [4, 3, 1], "kept": [100, 200], "written": 50, "again": 0, "same": True, "verified": True}]
    measured = {"growth": growth, "processes": processes, "killed": killed}
    return {"machine": "a machine\nversions", "sizes": sizes, **measured}


def _run(rows: int, row_bytes: int) -> dict[str, Any]:
    return {"rows": rows, "seconds": 3e-6 * rows, "processor": 2e-6 * rows, "anonymous": 10**7 + row_bytes * rows} | {
        "resident": 10**7 + 200 * rows,
        "solver": {},
    }


def test_rows_are_those_of_their_numbers(parts: Parts) -> None:
    made = parts("growing.made")
    data = made.Made(5000)
    inputs, labels = data.collate([data[row] for row in (7, 4999, 8)])
    alone, _ = data.collate([data[4999]])
    assert torch.equal(inputs[1], alone[0])
    assert labels.tolist() == [int(data.labels[row]) for row in (7, 4999, 8)]
    everything, _ = data.collate([data[row] for row in range(5000)])
    assert len(torch.unique(everything, dim=0)) == 5000


@pytest.mark.parametrize("rows", [20_000, 200_000])
def test_every_size_has_the_same_long_tail(parts: Parts, rows: int) -> None:
    made = parts("growing.made")
    counts = np.bincount(made.labels_of(np.arange(rows)), minlength=made.CLASSES)
    shares = made.IMBALANCE ** -(np.arange(made.CLASSES) / (made.CLASSES - 1))
    assert np.abs(counts - rows * shares / shares.sum()).max() < 8  # a golden sequence's discrepancy grows like log N


@linux
def test_a_command_is_measured_and_does_its_work(
    parts: Parts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, commanded, sizes = parts("growing.made"), parts("growing.commanded"), parts("growing.sizes")
    words = [made.extraction(tmp_path / f"{n}.cache", made.source_file(tmp_path, n), batch=200) for n in (300, 1000)]
    commanded.main([*words[0], "--", *words[1]])
    extract = json.loads(capsys.readouterr().out)
    cache = FeatureCache(tmp_path / "1000.cache", verify=True)
    assert cache["train"].labels.tolist() == made.labels_of(np.arange(1000)).tolist()
    assert 0 < extract["pass_seconds"] < extract["seconds"]
    assert extract["resident"] >= 0
    for task in ("verify", "joint", "crt", "tau_norm, tuned"):
        few, many = (sizes.words_of(task, tmp_path / f"{n}.cache") for n in (300, 1000))
        with patch.dict(sizes.TASKS):
            commanded.main([*few, "--", *many])
        run = json.loads(capsys.readouterr().out)
        assert run["processor"] > 0
        assert run["solver"].get("recipe") == ("optimum" if task == "crt" else None)


@linux
def test_a_rank_says_what_its_fit_took(parts: Parts, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made, processes = parts("growing.made"), parts("growing.processes")
    cli(made.extraction(tmp_path / "a", made.source_file(tmp_path, 300)), standalone_mode=False)
    processes.main(["fit", "crt", str(tmp_path / "a"), "--out", str(tmp_path / "head.safetensors")])
    (seconds,) = processes.TOOK.findall(capfd.readouterr().out)
    assert 0 < float(seconds) < 60
    assert (tmp_path / "head.safetensors").exists()


@linux
def test_every_task_is_a_command(parts: Parts, tmp_path: Path) -> None:
    sizes = parts("growing.sizes")
    for task in sizes.TASKS:
        name, *words = sizes.words_of(task, tmp_path / "a.cache")
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        if isinstance(command, click.Group):
            name, command, words = command.resolve_command(click.Context(command), words)
        command.make_context(name, words)  # a UsageError where the words are wrong


def test_slopes_are_found(parts: Parts) -> None:
    slopes, rng = parts("growing.slopes"), np.random.default_rng(0)
    runs = [_run(rows, 40) for rows in (1000, 10**5, 10**5, 10**6, 10**6, 10**7)]
    for run in runs:
        run["processor"] = 1e-7 * run["rows"] ** 1.3 * math.exp(0.02 * rng.standard_normal())
    runs[0]["processor"] = 100.0  # below where time must be linear
    grown = slopes.growth(runs)
    assert grown.low < 1.3 < grown.high
    assert grown.high - grown.low < 0.1
    assert grown.linear is False
    assert grown.row_bytes == pytest.approx(40)
    assert grown.flat
    assert not slopes.growth([_run(rows, 61) for rows in (10**5, 10**6)]).flat


def test_other_ways_of_a_solver_are_not_compared(parts: Parts) -> None:
    slopes = parts("growing.slopes")
    runs = [_run(rows, 40) for rows in (10**5, 10**6, 10**7)]
    runs[0] |= {"processor": 1e4, "solver": {"recipe": "optimum"}}
    assert slopes.growth(runs).slope == pytest.approx(1)
    assert slopes.growth(runs[:2]).slope is None


def test_limits_are_in_their_order_and_follow_the_measurements(parts: Parts, found: dict[str, Any]) -> None:
    report, limits = parts("growing.report"), parts("growing.limits").limits
    grown = report.grown_of(found)
    lines = limits(grown)
    assert [each.rows for each in lines] == sorted(each.rows for each in lines)
    assert all(0 < each.rows <= layout.MAX_ROWS * 100 for each in lines)
    first = next(each for each in lines if "memory of labels" in each.what)
    crt = replace(grown["crt"], row_bytes=grown["crt"].row_bytes / 2)
    halved = next(each for each in limits({**grown, "crt": crt}) if each.what == first.what)
    assert halved.rows == pytest.approx(2 * first.rows)


def test_a_missed_target_is_said(parts: Parts, found: dict[str, Any]) -> None:
    report = parts("growing.report").report
    text, met = report(found)
    assert not met
    assert "crt: memory grows by 90 bytes a row; target 60: MISSED" in text
    assert "ncm: time grows like N^1.00 (1.00 .. 1.00); target 1.1: met" in text
    sound = json.loads(json.dumps(found))
    for run in sound["growth"]["crt"]:
        run["anonymous"] = 0
    assert report(sound)[1]
    sound["killed"][0]["same"] = False
    assert not report(sound)[1]


def test_the_page_says_what_was_found(parts: Parts, found: dict[str, Any], tmp_path: Path) -> None:
    parts("growing.page").write_page(found, tmp_path)
    text = (tmp_path / "scale.md").read_text("utf-8")
    assert "| crt | 0.03 | 0.30 | 0.90 | 30.00 | 500,000 | 1.00 (1.00 to 1.00) |" in text
    assert "**not flat**" in text
    assert "| 4 → 3 → 1 | 100, 200 | 0 | the same | every byte |" in text
    assert (tmp_path / "figures" / "scale" / "growth.svg").stat().st_size > 10_000


def test_the_page_in_docs_is_of_the_results(parts: Parts) -> None:
    results = ROOT / "benchmarks" / "results"
    kept = json.loads((results / "scale.json").read_text("utf-8"))
    assert (ROOT / "docs" / "scale.md").read_text("utf-8") == parts("growing.page").page(kept)
    assert (results / "scale.txt").read_text("utf-8") == parts("growing.report").report(kept)[0]


@linux
def test_a_killed_job_goes_on_with_another_number_of_processes(parts: Parts, tmp_path: Path) -> None:
    (chain,) = parts("growing.killed").resumed(tmp_path, [(2, 1)], rows=30_000, pause=0.1)
    (kept,) = chain["kept"]
    assert 0 < kept < 30_000
    assert chain["written"] == 30_000 - kept
    assert (chain["again"], chain["same"], chain["verified"]) == (0, True, True)
