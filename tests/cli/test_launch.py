"""A command on several processes: the same head as from one, printed and written once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch

from featurecache import FeatureCache
from rebalance import load_head
from rebalance_cli.launch import first, how_to_go_on, own_device, place, shared


def test_one_process_is_the_first_and_shares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with shared():
        assert first()
        assert not torch.distributed.is_initialized()


def test_of_several_only_the_first_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert not first()


@pytest.mark.parametrize("line", [["fit", "ncm"], ["tune", "tau_norm"]])
def test_two_processes_make_the_head_of_one(line: list[str], project: Any, tmp_path: Path) -> None:
    made: dict[int, Path] = {}
    for count in (1, 2):
        made[count] = tmp_path / f"{count}.safetensors"
        launch = ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m", "rebalance"]
        command = [sys.executable, "-m", *(launch if count > 1 else ["rebalance"]), *line, str(project.cache), "--out"]
        done = subprocess.run(
            [*command, str(made[count])],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(f"{made[count]}: {line[1]}") == 1
    one, two = (load_head(path) for path in made.values())
    torch.testing.assert_close(two.weight, one.weight, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(two.bias, one.bias, rtol=1e-5, atol=1e-5)
    assert two.record["hyperparameters"].keys() == one.record["hyperparameters"].keys()


def test_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert place(None, None) == (0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert place(None, None) == (2, 3)
    assert place(0, 1) == (0, 1)
    for rank, world_size in ((1, None), (None, 2), (2, 2)):
        with pytest.raises(click.UsageError):
            place(rank, world_size)


def test_a_process_without_cuda_keeps_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert own_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.cuda
def test_a_process_takes_the_device_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    monkeypatch.setenv("LOCAL_RANK", str(torch.cuda.device_count()))
    assert own_device(torch.device("cuda")) == torch.device("cuda", 0)


def test_three_processes_extract_what_one_does(project: Any, tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3", "-m", "rebalance"]
    words = ["extract", str(tmp_path / "x.cache"), "--model", f"run:{project.model}", "--batch-size", "4"]
    for name in ("val", "test"):
        words += ["--split", f"{name}={project.photos / name}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *words], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("joint head") >= 1  # whoever finds everything done says how good it is
    whole, apart = FeatureCache(project.cache), FeatureCache(tmp_path / "x.cache", verify=True)
    for name in ("val", "test"):
        assert len(apart[name].shards) == 3
        assert np.array_equal(apart[name].index, np.arange(len(whole[name])))
        assert np.array_equal(apart[name].labels, whole[name].labels)
        # A batch of 4 is summed in another order than one of 64.
        assert np.allclose(apart[name].features[:], whole[name].features[:], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["x", "--batch-size", "8", "-v"], "rebalance x -v --batch-size 4"),
        (["x", "--batch-size=8"], "rebalance x --batch-size 4"),
        (["my x"], "rebalance 'my x' --batch-size 4"),
        ([], "run the same command again"),
    ],
)
def test_the_command_that_goes_on_has_the_other_value_once(words: list[str], expected: str) -> None:
    context = click.Context(click.Command("x"))
    context.meta["rebalance.words"] = words
    with context.scope():
        assert how_to_go_on("--batch-size", "4") == expected


def test_a_job_of_several_processes_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    context = click.Context(click.Command("x"))
    context.meta["rebalance.words"] = ["x"]
    with context.scope():
        assert how_to_go_on() == "rebalance x"
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
        assert how_to_go_on() == "start the same job again"
