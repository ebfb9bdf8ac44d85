"""A comparison as a process: interrupted, and as one of several."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Answer = Callable[..., dict[str, Any]]
FEW = ("--replicates", 0)  # no intervals: nothing here is about them


def start(*words: object) -> subprocess.Popen[str]:
    """The program in a process of its own that stops inside the second method."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sys, time, rebalance.methods as methods\n"
        "from dataclasses import replace\n"
        "from rebalance_cli.main import main\n"
        "slow = lambda *a, **k: (print('waits', file=sys.stderr, flush=True), time.sleep(60))\n"
        "methods.METHODS['crt'] = replace(methods.METHODS['crt'], function=slow)\n"
        "main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_interrupted_it_says_how_to_go_on_and_then_does(project: Any, tmp_path: Path, answer: Answer) -> None:
    words = ("compare", project.cache, "--methods", "ncm,crt", "--heads", tmp_path / "heads", *FEW)
    with start(*words) as process:
        assert process.stderr is not None
        said = ""
        until = time.monotonic() + 60
        while "waits" not in said and time.monotonic() < until:
            said += process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    last = err.splitlines()[-1]
    assert last.startswith("rebalance: interrupted; the heads that were finished are kept in ")
    assert last.endswith("to go on: rebalance " + shlex.join(map(str, words)))
    assert "\x1b" not in said + err
    again = {head["name"]: head["reused"] for head in answer(*words)["heads"]}
    assert again == {"joint": False, "ncm": True, "crt": False}


def test_two_processes_compare_like_one(project: Any, tmp_path: Path, answer: Answer) -> None:
    words = ["compare", str(project.cache), "--methods", "ncm,crt,tau_norm,temperature", "--json", "--replicates", "20"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "rebalance"]
    done = subprocess.run(
        [*launch, *words, "--heads", str(tmp_path / "two")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    two = json.loads(done.stdout)
    assert done.stderr.count("2/5 ncm: ") == 1
    one = answer(*words[:-3], "--replicates", "20", "--heads", tmp_path / "one")
    assert [head["name"] for head in two["heads"]] == [head["name"] for head in one["heads"]]
    assert two["chosen"] == one["chosen"]
    assert two["validation"] == pytest.approx(one["validation"])
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(
        path.name for path in (tmp_path / "one").iterdir()
    )
