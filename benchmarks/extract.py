"""How much of a model's, or a data loader's, own speed does an extraction keep, and does its memory grow?

Run: python benchmarks/extract.py [--only models,photos,growth] [--pairs 7] [--threads 2] [--work DIR]
On two cores it takes about ten minutes. Needs the extra timm. Where there is a CUDA device the models run on it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

ROWS = ("models", "photos", "growth")


def main() -> None:
    """Prints the machine, the versions, and the rows that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(ROWS), help="rows, comma-separated (default: all)")
    parser.add_argument("--pairs", type=int, default=7, help="runs of both sides (default: 7)")
    parser.add_argument("--threads", type=int, default=2, help="of both sides (default: 2)")
    parser.add_argument("--work", type=Path, help="where files are made (default: a temporary folder)")
    options = parser.parse_args()
    asked = options.only.split(",")
    if unknown := [name for name in asked if name not in ROWS]:
        parser.error(f"no row {unknown[0]!r}; there are {', '.join(ROWS)}")
    for library in ("OMP", "MKL", "OPENBLAS"):
        os.environ[f"{library}_NUM_THREADS"] = str(options.threads)
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        measure(asked, options.pairs, options.threads, Path(folder))


def measure(asked: list[str], pairs: int, threads: int, work: Path) -> None:
    """Print the rows of these names; files are made in the folder `work`."""
    from extracting import growth, models, photos
    from speed.measure import machine

    rows = {"models": models.models, "photos": photos.photos, "growth": growth.growth}
    print(machine())
    print(f"rates are of the pass over the rows, medians of interleaved pairs, {threads} threads on both sides")
    for name in asked:
        print(f"\n{name}")
        rows[name](work, pairs)


if __name__ == "__main__":
    main()
