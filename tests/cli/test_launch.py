"""A command on several processes: the same head as from one, printed and written once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rebalance import load_head
from rebalance_cli.launch import first, shared


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
