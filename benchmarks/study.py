"""Does what the paper found hold on real data that can be had here?

Run: python benchmarks/study.py [--work study] [--sets fashion,icons,clipart,wordnet] [--seeds 3] [--workers 2]
The paper's design: four samplers, five classifiers, the later methods, fine-tuning of the trunk; see `studying/`. What
was done is kept in --work, so it goes on where it was stopped. In the end it writes docs/study.md with its figures, and
results/study.json and results/study.txt; `--only report` does that alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

DEFAULT = "fashion,icons,clipart,wordnet"


def main() -> None:
    """Prints every command and the tables; exit code 1 when a step failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("study"), help="where everything is kept (default: study)")
    parser.add_argument("--sets", default=DEFAULT, help=f"comma-separated (default: {DEFAULT})")
    parser.add_argument("--seeds", type=int, default=3, help="repetitions (default: 3)")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread (default: 2)")
    parser.add_argument("--only", choices=["steps", "report"], help="run, or judge what is there")
    parser.add_argument("--into", type=Path, help="write docs/ and benchmarks/ there (default: this checkout)")
    options = parser.parse_args()
    for library in ("OMP", "MKL", "OPENBLAS"):  # read once, when torch and NumPy's BLAS are loaded
        os.environ[f"{library}_NUM_THREADS"] = "1"

    from speed.measure import machine
    from studying import ledger, reporting
    from studying.crew import Crew
    from studying.planning import plan
    from studying.sets import SETS
    from studying.steps import Marks

    if unknown := [name for name in options.sets.split(",") if name not in SETS]:
        parser.error(f"no set {unknown[0]!r}; there are {', '.join(SETS)}")
    if options.seeds < 1 or options.workers < 1:
        parser.error("--seeds and --workers are 1 or more")
    marks, journal = Marks(options.work / "steps"), options.work / "steps.jsonl"
    marks.folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    sets = [SETS[name](options.work) for name in options.sets.split(",")]
    print(machine(), f"data sets ready after {time.perf_counter() - began:.0f} s", sep="\n", flush=True)
    steps, failed = plan(options.work, sets, options.seeds), set[str]()
    if options.only != "report":
        left = marks.undone(steps)
        minutes, unknown_steps = ledger.forecast(left, _known(journal), options.workers)
        rest = f", and {unknown_steps} of which nothing is known" if unknown_steps else ""
        print(f"{len(left)} of {len(steps)} steps are to be run: about {minutes:.0f} minutes{rest}", flush=True)
        failed = Crew(marks, journal, _say).run(steps, options.workers)
        if failed:
            print(f"failed, or not run for it: {', '.join(sorted(failed))}", flush=True)
    if options.only != "steps":
        print(reporting.report(options.work, sets, steps, marks, machine(), options.into or reporting.ROOT))
    sys.exit(1 if failed else 0)


def _known(journal: Path) -> dict[str, float]:
    """Seconds of every kind of step, as this study or the last one that was written had them."""
    from studying import ledger, reporting

    path = reporting.ROOT / reporting.JSON
    last = json.loads(path.read_text(encoding="utf-8"))["seconds"] if path.exists() else {}
    return {**last, **ledger.seconds(ledger.lines(journal))}


def _say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, flush=True)


if __name__ == "__main__":
    main()
