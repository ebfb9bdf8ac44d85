"""One command of the project in a process of its own: what it takes once all code is loaded.

Run in benchmarks/: python -m growing.commanded WARM… -- ARGUMENTS…, the words of two `rebalance` commands.
The first loads what there is to load, the second is measured. Prints one JSON line.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from speed.measure import anonymous_bytes, watched

FOLDER = Path(__file__).resolve().parent.parent  # where `growing` is found
SAID = ("recipe", "products", "passes", "rows")  # of a solver's record


def measured(warm: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
    """What the second of two commands took, in a fresh process with one thread.

    The result: seconds, and processor seconds, of the whole command; anonymous, resident: bytes at most beyond what
    the process had before, without pages of files, and with them; solver: what a fitted head's record says of it. Of
    an extraction also pass_seconds and pass_anonymous: the same of the pass alone, without what is made of the cache
    when it is finished.
    """
    run = subprocess.run(
        [sys.executable, "-m", "growing.commanded", *warm, "--", *words],
        cwd=FOLDER,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if run.returncode:
        raise RuntimeError(f"{' '.join(words)}: exit {run.returncode}: {run.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def main(words: Sequence[str]) -> None:
    """Run both commands, and print what the second took."""
    cut = words.index("--")
    _called(words[:cut])
    before = anonymous_bytes()
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident memory counts from here on
    resident = _status("VmRSS")
    with watched() as highest, _pass_noted(highest) as noted:
        clock, processor = time.perf_counter(), time.process_time()
        payload = _called(words[cut + 1 :])
        found = {"seconds": time.perf_counter() - clock, "processor": time.process_time() - processor}
        found |= {"anonymous": highest() - before, "resident": _status("VmHWM") - resident}
    if noted:
        found |= {"pass_seconds": noted["seconds"], "pass_anonymous": noted["highest"] - before}
        found["pass_processor"] = noted["processor"] - processor
    solver = payload.get("record", {}).get("solver", {})
    print(json.dumps({**found, "solver": {key: solver[key] for key in SAID if key in solver}}))


def _called(words: Sequence[str]) -> Any:
    """What a command returns, run in this process; what it prints is dropped."""
    from rebalance_cli.main import cli

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return cli(list(words), standalone_mode=False)


@contextlib.contextmanager
def _pass_noted(highest: Callable[[], int]) -> Iterator[dict[str, float]]:
    """Inside the block, a dict that `featurecache.extract` fills when it returns."""
    import featurecache

    noted: dict[str, float] = {}
    extract = featurecache.extract

    def noting(*given: Any, **named: Any) -> Any:
        clock = time.perf_counter()
        done = extract(*given, **named)
        noted.update(seconds=time.perf_counter() - clock, processor=time.process_time(), highest=highest())
        return done

    with patch.object(featurecache, "extract", noting):
        yield noted


def _status(entry: str) -> int:
    """A size in bytes out of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(entry + ":")).split()[1])


if __name__ == "__main__":
    main(sys.argv[1:])
