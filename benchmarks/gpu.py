"""Does everything CUDA work on this device, and how fast is it?

Run: python benchmarks/gpu.py [--quick] [--only tests,heads,…] [--out FILE]
Runs the tests marked cuda, then times heads, evaluation, feeding, training and extraction, each part in a process of
its own; one that fails is recorded and the rest goes on. Up to 8 minutes; the two sizes of heads need 16 GB of device
memory. The project need not be installed. Targets: in its output, one a check.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.checkout import BENCHMARKS, NEEDED, importable, missing

if TYPE_CHECKING:
    from device.running import Results

SCHEMA = 1
NAMES = ("tests", "agreement", "heads", "evaluate", "feed", "train", "many-classes", "extract")
LIMIT = 480.0  # seconds of all parts


def main() -> None:
    """Prints a summary and writes the results; exits with 1 where a check failed (a missed target is no failure)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and smaller runs: about 3 minutes")
    parser.add_argument("--only", default=",".join(NAMES), help="parts, comma-separated (default: all)")
    parser.add_argument("--out", type=Path, help="results (default: benchmarks/results/gpu-<device>.json)")
    options = parser.parse_args()
    asked = options.only.split(",")
    if unknown := [name for name in asked if name not in NAMES]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(NAMES)}")
    if absent := missing(NEEDED):
        raise SystemExit(f"not installed here: {', '.join(absent)}; this benchmark needs {', '.join(NEEDED)}")
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device: this benchmark has nothing to measure here")
    raise SystemExit(measure("cuda", asked, options.out, quick=options.quick, limit=LIMIT))


def measure(device: str, asked: list[str], out: Path | None, *, quick: bool, limit: float) -> int:
    """Run the parts of these names, write their results and print the summary; 1 where a check failed, else 0.

    device: cuda; or cpu, to try the benchmark itself. out: None for a file named after the device. limit: seconds.
    """
    import torch

    with importable() as installed:
        from device.description import clocks, described
        from device.running import run_all
        from device.summary import summary
        from speed.measure import machine

        place, begun = torch.device(device), time.monotonic()
        about, before = described(place), clocks(place)
        file = out or BENCHMARKS / "results" / f"gpu-{_slug(about['device'])}.json"

        def entry(results: Results) -> dict[str, Any]:
            return {
                "schema": SCHEMA,
                "machine": machine().splitlines(),
                "about": {**about, "installed": installed},
                "clocks": [before, clocks(place)],
                "quick": quick,
                "seconds": round(time.monotonic() - begun, 1),
                "parts": results.seconds,
                "checks": results.checks,
                "tests": results.tests,
            }

        # Kept after every part: whoever stops this in the middle has what was found until then.
        results = run_all(asked, device, quick=quick, limit=limit, keep=lambda so_far: _write(file, entry(so_far)))
        print(summary(entry(results)))
        print(f"results: {os.path.relpath(file)}")
        return 1 if results.status("failed") else 0


def _write(file: Path, entry: dict[str, Any]) -> None:
    part = file.with_name(f"{file.name}.part")
    part.write_text(json.dumps(entry, indent=1) + "\n", "utf-8")
    part.replace(file)


def _slug(device: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


if __name__ == "__main__":
    main()
