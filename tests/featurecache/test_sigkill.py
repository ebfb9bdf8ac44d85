"""Processes killed by a real SIGKILL: 40 here, 1,000 in benchmarks/sigkill.py, which is run as it is.

In a process of its own, because it forks: the processes that are killed start from one that has loaded everything and
has no other thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "sigkill.py"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")


def run(kills: int, before: str = "") -> subprocess.CompletedProcess[str]:
    """The benchmark with so many kills. before: Python that runs first."""
    code = f"{before}\nimport runpy, sys\nsys.argv[1:] = ['--kills', '{kills}']\n"
    code += f"sys.path.insert(0, {str(SCRIPT.parent)!r})\nrunpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env=alone)


def test_nothing_is_lost_or_done_twice_whatever_is_killed() -> None:
    done = run(40)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "target 40: met" in done.stdout
    assert "MISSED" not in done.stdout
    assert done.stdout.count(": met") == 6


def test_an_extraction_that_forgets_is_found_out() -> None:
    done = run(3, "import featurecache.writer as writer\nwriter._checked = lambda *given: {}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "again or twice" in next(line for line in done.stdout.splitlines() if "MISSED" in line)
