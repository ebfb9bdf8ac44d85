"""The process of one candidate: it does what it is told on stdin, a line at a time, and answers in lines of JSON.

Run in benchmarks/: python -m comparing.child SIDE NAME FOLDER LIMIT BYTES
It begins with one fit on a few other rows, of no account, so that no later one loads code.
`fit` is answered by the seconds, the fit's note, and whether it decides otherwise than by its probabilities;
`predict FILE` and `decide FILE` by the seconds and the memory, with the log-probabilities (N, K) or the decisions (N,)
in the file. In between come lines of what it is doing. A failure is one line, and the end.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from comparing import gauge
from comparing.questions import WARM


def main() -> None:
    """Serve until stdin ends."""
    side, name, folder, limit, size = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    warnings.simplefilter("ignore")
    gauge.refuse_more_than(int(size) or None)
    try:
        _serve(side, name, Path(folder), float(limit), answers)
    except (ValueError, ImportError, MemoryError) as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        _say(answers, failed=f"{kind}{' '.join(str(error).split()) or 'no more memory'}"[:400])


def _serve(side: str, name: str, folder: Path, limit: float, answers: TextIO) -> None:
    module = import_module(f"comparing.sides.{side}")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    _warm(module, name, folder / WARM)
    libraries = gauge.resident()
    gauge.forget_peak()
    data = module.open_data(folder, limit, lambda doing: _say(answers, doing=doing))
    fit = module.FITS[name](data)
    _say(answers, ready=True)
    fitted: Any = None
    for line in sys.stdin:
        verb, _, file = line.rstrip("\n").partition(" ")
        if verb == "fit":
            fitted = None  # the one before would count as memory of this one
            begun = time.perf_counter()
            fitted = fit()
            seconds = time.perf_counter() - begun
            _say(answers, seconds=seconds, note=fitted.note, decides=fitted.decide is not None)
        else:
            work, rows = getattr(fitted, verb), data.test
            begun = time.perf_counter()
            made = work(rows)
            seconds, peak = time.perf_counter() - begun, gauge.peak()
            _keep(made, file)
            _say(answers, seconds=seconds, peak=peak, libraries=libraries)


def _warm(module: ModuleType, name: str, folder: Path) -> None:
    """Fit and predict a few rows that are no part of the set: code that is loaded at its first use is then there."""
    data = module.open_data(folder, 0.0, lambda doing: None)
    fitted = module.FITS[name](data)()
    for work in filter(None, (fitted.predict, fitted.decide)):
        work(data.test)


def _keep(made: Any, file: str) -> None:
    import numpy as np

    np.save(file, made)


def _say(answers: TextIO, **what: Any) -> None:
    print(json.dumps(what), file=answers, flush=True)


if __name__ == "__main__":
    main()
