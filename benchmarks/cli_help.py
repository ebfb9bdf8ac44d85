"""How long does a user wait for `rebalance --help`?  (It should be under 0.3 s.)

Run: python benchmarks/cli_help.py
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

RUNS = 15
TARGET = 0.3  # seconds
PROGRAM = Path(sys.executable).with_name("rebalance")
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "rebalance --help": [str(PROGRAM), "--help"],
}


def seconds(command: list[str]) -> float:
    """Wall time of one run of the command, process start included."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Prints the machine, the versions, and one line a command."""
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(", ".join(f"{name} {version(name)}" for name in ("featurecache-rebalance", "click")))
    print(f"wall seconds of {RUNS} runs, after one that warms the disk's cache; the commands take turns\n")
    for command in COMMANDS.values():
        seconds(command)
    rounds = [{name: seconds(command) for name, command in COMMANDS.items()} for _ in range(RUNS)]
    print(f"{'':<18}{'median':>8}{'min':>8}{'max':>8}")
    for name in COMMANDS:
        times = [times[name] for times in rounds]
        print(f"{name:<18}{statistics.median(times):>8.3f}{min(times):>8.3f}{max(times):>8.3f}")
    median = statistics.median(times["rebalance --help"] for times in rounds)
    print(f"\ntarget: median under {TARGET} s: {'met' if median < TARGET else 'MISSED'}")


if __name__ == "__main__":
    main()
