"""Parts as processes: one that crashes or hangs takes neither the device nor the results of the others with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device.checkout import BENCHMARKS

TAIL = 2000  # characters of what a dead part said last
LEAST = 5.0  # seconds without which a part is not begun


@dataclass
class Results:
    """What all parts found. checks: as device.record.Check. tests: name, outcome, why, seconds."""

    checks: list[dict[str, Any]] = field(default_factory=list)
    tests: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def status(self, name: str) -> list[dict[str, Any]]:
        """The checks of this status."""
        return [check for check in self.checks if check["status"] == name]


def run_all(
    names: Sequence[str], device: str, *, quick: bool, limit: float, keep: Callable[[Results], None]
) -> Results:
    """Run the parts one after the other. limit: seconds of all; what comes later is stopped or left out.

    keep: called after each part with all there is.
    """
    results, ends = Results(), time.monotonic() + limit
    for name in names:
        left = ends - time.monotonic()
        begun = time.monotonic()
        if left < LEAST:
            results.checks.append(failed(name, f"not begun: the {limit:.0f} s for all parts are over"))
        else:
            command = [sys.executable, "-m", "device.part", name, device]
            run_one(name, command, ["--quick"] if quick else [], left, results)
        results.seconds[name] = round(time.monotonic() - begun, 2)
        keep(results)
    return results


def run_one(name: str, command: Sequence[str], options: Sequence[str], limit: float, results: Results) -> None:
    """Run a part and add what it found. command: is given a file for its lines, and the options."""
    with tempfile.TemporaryDirectory() as folder:
        lines, said = Path(folder) / "lines", Path(folder) / "said"
        lines.touch()
        with said.open("wb") as output:
            code = _supervised([*command, str(lines), *options], limit, output)
        _take(lines, results)
        if code == 0:
            return
        words = said.read_bytes().decode("utf-8", errors="replace")[-TAIL:]
        if code is None:
            results.checks.append(failed(name, f"stopped: not done after {limit:.0f} s", words))
        else:
            results.checks.append(failed(name, f"its process ended with {code}", words))


def failed(name: str, error: str, trace: str = "") -> dict[str, Any]:
    """A failed check that no part could write."""
    return {"name": name, "status": "failed", "error": error, "trace": trace}


def _supervised(command: Sequence[str], limit: float, output: Any) -> int | None:
    """The exit status; None where the process, and all it started, had to be stopped."""
    process = subprocess.Popen(command, cwd=BENCHMARKS, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _take(lines: Path, results: Results) -> None:
    for line in lines.read_text("utf-8").splitlines(keepends=True):
        if line.endswith("\n"):  # the last may be half written
            entry = json.loads(line)
            if "check" in entry:
                results.checks.append(entry["check"])
            else:
                results.tests.append(entry["test"])
