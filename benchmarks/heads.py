"""How fast are the heads, next to the reference's algorithms and scikit-learn, and what memory do they take?

Run: python benchmarks/heads.py [--only tau,crt,lws,ncm,lda,logistic,all-five,growth] [--work DIR]
All of it takes about 20 minutes on two cores and 4 GB of memory. The first run makes a cache of 0.75 GB in DIR.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

THREADS = 2  # on both sides
ROWS = ("tau", "crt", "lws", "ncm", "lda", "logistic", "all-five", "growth")


def main() -> None:
    """Prints the machine, the versions, and the rows that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(ROWS), help="rows, comma-separated (default: all)")
    parser.add_argument("--work", type=Path, help="where the cache is kept (default: a temporary folder)")
    options = parser.parse_args()
    asked = options.only.split(",")
    if unknown := [name for name in asked if name not in ROWS]:
        parser.error(f"no row {unknown[0]!r}; there are {', '.join(ROWS)}")
    # Read once, when torch, NumPy's BLAS and scikit-learn are loaded: so before any of them is.
    for library in ("OMP", "MKL", "OPENBLAS"):
        os.environ[f"{library}_NUM_THREADS"] = str(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        measure(asked, options.work or Path(folder))


def measure(asked: list[str], work: Path) -> None:
    """Print the rows of these names; the cache lies in the folder `work`."""
    from speed import closed, five, growth, search, trained
    from speed.measure import machine
    from speed.problem import S, problem

    print(machine())
    print(
        f"wall seconds, medians (smallest .. largest), {THREADS} threads on both sides, which take turns; size S is {S}"
    )
    rows = {"logistic": trained.logistic, "growth": growth.growth}
    on_size_s = {
        "tau": search.tau,
        "crt": trained.retrained,
        "lws": trained.scaled,
        "ncm": closed.nearest,
        "lda": closed.discriminant,
        "all-five": five.all_five,
    }
    for name in asked:
        if name in rows:
            rows[name]()
        else:
            on_size_s[name](problem(work))


if __name__ == "__main__":
    main()
