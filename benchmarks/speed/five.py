"""All five heads of the paper from the cache, in one cold process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from speed.measure import verdict
from speed.problem import Problem

FOLDER = Path(__file__).resolve().parent.parent  # where `speed` is found
SECONDS = 45
EXTRA = 0.6e9  # bytes allowed beside twice the float16 features of the training rows


def all_five(problem: Problem) -> None:
    """One row: seconds since the process began, and its highest anonymous memory."""
    command = [sys.executable, "-m", "speed.cold", str(problem.path.resolve())]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=FOLDER).stdout)
    features, _ = problem.rows("train")
    allowed = 2 * features.nbytes + EXTRA
    print("\nall five heads, tuned and judged, from the cache, one cold process (1 run)")
    print("  " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result["steps"].items()))
    print(f"  {result['seconds']:.1f} s; target {SECONDS} s: {verdict(result['seconds'] <= SECONDS)}")
    memory = f"{result['bytes'] / 1e9:.2f} GB; target {allowed / 1e9:.2f} GB"
    print(f"  highest anonymous memory {memory}: {verdict(result['bytes'] <= allowed)}")
    balanced = ", ".join(f"{name} {100 * value:.2f} %" for name, value in result["balanced"].items())
    print(f"  test balanced accuracy: {balanced}", flush=True)
