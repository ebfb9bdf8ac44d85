"""What do bootstrap intervals cost, and do 95 % intervals hold the truth in 95 of 100 samples?

Run: python benchmarks/intervals.py [--only speed,coverage]
Target: 1,000 replicates of every figure at 50,000 rows x 1,000 classes in under 5 s on 2 threads. About 6 minutes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

THREADS = 2
PARTS = ("speed", "coverage")

ROWS, CLASSES, REPLICATES = 50_000, 1_000, 1_000
TARGET = 5.0  # seconds
LOOPED = 20  # replicates of the plain loops, which are too slow for all

SAMPLES, DRAWN, MANY = 400, 400, 10_000  # test sets; replicates of each; rows a class that stand for the truth
FIGURES = (
    *("top1", "balanced", "few", "macro_f1", "nll", "brier"),
    *("ece", "ece_few", "ece_equal_mass", "ece_classwise", "worst", "harmonic", "geometric"),
)


def main() -> None:
    """Prints the machine, the versions, and the parts that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS), help="parts, comma-separated (default: all)")
    asked = parser.parse_args().only.split(",")
    if unknown := [name for name in asked if name not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    for library in ("OMP", "MKL", "OPENBLAS"):  # read once, when the libraries are loaded
        os.environ[f"{library}_NUM_THREADS"] = str(THREADS)
    from speed.measure import machine

    print(machine())
    if "speed" in asked:
        speed()
    if "coverage" in asked:
        coverage()


def speed() -> None:
    """All figures with intervals, next to the same without, and to loops that draw rows and count anew."""
    import numpy as np
    import torch
    from speed.measure import in_turns, verdict

    from rebalance.metrics import evaluate

    torch.set_num_threads(THREADS)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (ROWS,), generator=generator)
    logits = 2 * torch.randn(ROWS, CLASSES, generator=generator)
    logits[torch.arange(ROWS), labels] += 8
    counts = (1280 * np.exp(-np.arange(CLASSES) / 200) + 5).astype(int)
    without, with_them, rows, passes = in_turns(
        (lambda: evaluate(logits, labels, counts), 5),
        (lambda: evaluate(logits, labels, counts, replicates=REPLICATES), 5),
        (_loop_over_rows(logits, labels.numpy(), counts), 1),
        (_loop_over_logits(logits, labels, counts), 1),
    )
    spent = with_them.median - without.median
    print(f"\n{ROWS:,} rows x {CLASSES:,} classes, {THREADS} threads, {len(with_them.result.values)} figures")
    print(f"  no intervals                                   {without}")
    print(f"  {REPLICATES:,} replicates                               {with_them}")
    print(f"  the replicates alone: {spent:.2f} s; target {TARGET:g}: {verdict(spent < TARGET)}")
    scale = REPLICATES / LOOPED
    print(f"  {LOOPED} replicates, per-row results drawn again, top-1, recalls and ECE only {rows}")
    print(f"    for all {REPLICATES:,}: {rows.median * scale:.1f} s, {rows.median * scale / spent:.1f} times ours")
    print(f"  {LOOPED} replicates, logits drawn and evaluated again, all figures {passes}")
    print(f"    for all {REPLICATES:,}: {passes.median * scale:.0f} s, {passes.median * scale / spent:.0f} times ours")


def _loop_over_rows(logits: Any, labels: Any, counts: Any) -> Callable[[], None]:
    import numpy as np
    from sklearn.metrics import accuracy_score, recall_score

    from rebalance.metrics import evaluate, expected_calibration_error
    from rebalance.resampling import draws

    results = evaluate(logits, labels, counts).results

    def run() -> None:
        for times in draws(labels, LOOPED, 0):
            rows = np.repeat(np.arange(len(labels)), times)
            accuracy_score(labels[rows], results.predictions[rows])
            recall_score(labels[rows], results.predictions[rows], average=None)
            expected_calibration_error(results.confidence[rows], results.correct[rows])

    return run


def _loop_over_logits(logits: Any, labels: Any, counts: Any) -> Callable[[], None]:
    import numpy as np

    from rebalance.metrics import evaluate
    from rebalance.resampling import draws

    def run() -> None:
        for times in draws(labels.numpy(), LOOPED, 0):
            rows = np.repeat(np.arange(len(labels)), times)
            evaluate(logits[rows], labels[rows], counts)

    return run


def coverage() -> None:
    """How many of 100 intervals hold the figure of a large sample, for a head and for the difference of two heads."""
    import numpy as np
    import torch

    from rebalance.metrics import evaluate

    torch.set_num_threads(1)
    print(
        f"\nhow many of 100 intervals hold the truth; {SAMPLES} test sets of 20 classes, {DRAWN} replicates each\n"
        "one head, and its difference to a second one on the same rows; over-confident, and calibrated\n"
        f"{'':16}{'30 rows a class':>32}{'200 rows a class':>32}\n{'':16}"
        + f"{'over-confident':>16}{'calibrated':>16}"
        * 2
    )
    cells: dict[str, list[str]] = {name: [] for name in FIGURES}
    for rows in (30, 200):
        for factor in (1.0, 0.55):
            *pair, counts, labels = _sample(MANY, np.random.default_rng(0), factor)
            a, b = (evaluate(logits, labels, counts) for logits in pair)
            held = {name: [0, 0] for name in FIGURES}
            for seed in range(SAMPLES):
                *pair, counts, labels = _sample(rows, np.random.default_rng(seed + 1), factor)
                one, two = (evaluate(each, labels, counts, replicates=DRAWN) for each in pair)
                apart = one.difference(two)
                for name in FIGURES:
                    low, high = one.intervals[name]
                    held[name][0] += low <= a.values[name] <= high
                    difference = apart[name]
                    held[name][1] += difference.low <= a.values[name] - b.values[name] <= difference.high
            for name, (alone, paired) in held.items():
                cells[name].append(f"{100 * alone / SAMPLES:9.0f} {100 * paired / SAMPLES:6.0f}")
    for name, columns in cells.items():
        print(f"{name:16}{''.join(columns)}")
    print("(400 test sets tell 95 from 92.9 and 97.1 at two standard errors)")


def _sample(rows: int, random: Any, factor: float) -> tuple[Any, Any, Any, Any]:
    """Logits (N, 20) of two heads, training counts and labels; rarer classes are harder."""
    import numpy as np
    import torch

    classes = 20
    fixed = np.random.default_rng(7)
    bias, pull = fixed.normal(0, 0.5, classes), np.linspace(3.5, 2.0, classes)
    labels = np.repeat(np.arange(classes), rows)
    first = random.normal(size=(len(labels), classes)) + bias
    first[np.arange(len(labels)), labels] += pull[labels]
    second = first + 0.5 * random.normal(size=first.shape) - bias
    scaled = (torch.from_numpy(4 * factor * each.astype(np.float32)) for each in (first, second))
    return (*scaled, np.linspace(300, 5, classes).astype(int), labels)


if __name__ == "__main__":
    main()
