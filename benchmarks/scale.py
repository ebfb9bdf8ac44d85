"""Does it hold when the data grow: with 10,000 to 10,000,000 rows, 1 to 4 processes, and a process that is killed?

Run: python benchmarks/scale.py [--rows 1e4,1e5,3e5,1e6,1e7] [--work DIR] [--out DIR], then once more with --page.
Targets: processor time grows with rows to a power of at most 1.1; beyond the labels and ids memory does not grow, 60
bytes a row; after a kill nothing that was committed is computed again, and the end has the same bytes.
Takes 20 minutes, 3 GB of the disk and 8 GB of memory at its default. Needs Linux.

Every measurement is a process of its own that runs the real command: `rebalance extract` of rows that are made from
their number by a model of one layer (64 features, 100 classes), then each fit on that cache, which is mapped and read
in blocks. The results go to OUT/scale.json after every part; --page alone writes docs/scale.md and its figure, whose
second half is worked out from the measured slopes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from growing.killed import resumed
from growing.page import write_page
from growing.processes import speeds
from growing.report import report
from growing.sizes import grown
from speed.measure import machine

HERE = Path(__file__).resolve().parent
ROWS = "1e4,1e5,3e5,1e6,1e7"


def main() -> None:
    """Measure, or write the page of what was measured; exits 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", default=ROWS, help="sizes, ascending")
    parser.add_argument("--work", type=Path, default=None, help="where the caches are made and removed again")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="where scale.json and scale.txt go")
    parser.add_argument("--page", action="store_true", help="measure nothing: write docs/scale.md from scale.json")
    given = parser.parse_args()
    file = given.out / "scale.json"
    if given.page:
        found = json.loads(file.read_text("utf-8"))
        (given.out / "scale.txt").write_text(report(found)[0], "utf-8")
        write_page(found, HERE.parent / "docs")
        return
    with tempfile.TemporaryDirectory(dir=given.work, prefix="scale-") as folder:
        found = measure(Path(folder).resolve(), [int(float(text)) for text in given.rows.split(",")], file)
    text, met = report(found)
    print(text, end="")
    sys.exit(0 if met else 1)


def measure(work: Path, sizes: list[int], file: Path) -> dict[str, Any]:
    """Everything that is measured, saved after every part. work: an empty folder. sizes: ascending."""
    found: dict[str, Any] = {"machine": machine(), "sizes": sizes}

    def keep(part: str, value: Any) -> None:
        found[part] = value
        file.write_text(json.dumps(found, indent=1) + "\n", "utf-8")

    keep("growth", grown(work, sizes))
    keep("processes", speeds(work, sizes))
    keep("killed", resumed(work))
    return found


if __name__ == "__main__":
    main()
