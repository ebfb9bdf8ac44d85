"""How do the heads stand beside scikit-learn, imbalanced-learn and the reference's recipes, on the same features?

Run: python benchmarks/peers.py [--data synthetic,fashion,icons,clipart,wordnet] [--work study] [--limit 600]
imbalanced-learn has to be installed, and scikit-learn >= 1.8 (pip install -c constraints.txt '.[bench]'). The real sets
are the caches that benchmarks/study.py leaves in --work, without which they are left out; any other cache is named by
its folder. Time, memory, balanced and few-shot accuracy and ECE go to results/peers.txt, results/peers.json and
docs/peers.md. What was measured is kept in WORK/peers, after every row of ours with its peers: a run that was stopped
goes on from there when it is started again in the same way, and `--only report` writes the files of what there is.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comparing.questions import Candidate

DEFAULT = "synthetic,fashion,icons,clipart,wordnet"


def main() -> None:
    """Prints the tables and the verdict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default=DEFAULT, help=f"sets or caches, comma-separated (default: {DEFAULT})")
    parser.add_argument("--work", type=Path, default=Path("study"), help="the folder of the study (default: study)")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds of one fit (default: 600)")
    parser.add_argument("--threads", type=int, default=2, help="of every candidate (default: 2)")
    parser.add_argument("--candidates", help="names of rows, separated by semicolons (default: all)")
    parser.add_argument("--only", choices=["run", "report"], help="measure, or write what was measured")
    parser.add_argument("--into", type=Path, help="write docs/ and benchmarks/ there (default: this checkout)")
    options = parser.parse_args()
    if options.threads < 1 or not options.limit > 0:
        parser.error("--threads is 1 or more, --limit more than 0 seconds")
    # Read once, when torch, NumPy's BLAS and scikit-learn are loaded: here and in every process of a candidate.
    for library in ("OMP", "MKL", "OPENBLAS"):
        os.environ[f"{library}_NUM_THREADS"] = str(options.threads)

    from comparing import reporting
    from comparing.questions import chosen

    names = options.data.split(",")
    try:
        asked = chosen(options.candidates.split(";") if options.candidates else None)
        if options.only != "report":
            measure(names, options.work, asked, options.limit, options.threads)
        if options.only != "run":
            own = [Path(name).name for name in names]
            print(reporting.report(options.work, own, options.into or reporting.ROOT))
    except ValueError as error:
        sys.exit(f"peers: {error}")


def measure(names: list[str], work: Path, asked: tuple[Candidate, ...], limit: float, threads: int) -> None:
    """Measure the candidates on every set of these names that is there; what came of it is kept in `work`."""
    from comparing import gauge, reporting, sources
    from comparing.questions import fits_into, groups
    from comparing.race import race
    from speed.measure import machine

    try:
        versions = f"{machine()}, imbalanced-learn {version('imbalanced-learn')}"
    except PackageNotFoundError as error:
        raise ValueError(f"{error.name} is not installed: pip install -c constraints.txt '.[bench]'") from error
    memory = gauge.allowed()
    for name in names:
        if why := sources.missing(name, work):
            print(f"peers: {why}", file=sys.stderr, flush=True)
            continue
        print(f"{name}:", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            try:
                material = sources.material(name, work, Path(folder))
            except ValueError as error:
                print(f"peers: left out: {error}", file=sys.stderr, flush=True)
                continue
            facts = material.facts()
            size = {"rows": facts["rows"]["train"], **{key: facts[key] for key in ("largest", "width", "classes")}}
            there = [each for each in asked if fits_into(each, **size)]
            how = {"machine": versions, "threads": threads, "limit": limit, "facts": facts}
            how["asked"] = [each.name for each in there]
            rows = reporting.begun(work, material.name, how)
            done = {row["name"] for row in rows}
            for group in groups(there):
                if group[0].name not in done:
                    rows += race(material, group, limit=limit, size=memory)
                    reporting.keep(work, material.name, how | {"rows": rows})


if __name__ == "__main__":
    main()
