"""All figures of a head's logits, with bootstrap intervals."""

from __future__ import annotations

import statistics

import numpy as np
import torch

from device.record import Record
from rebalance import evaluate

REPLICATES = 1000


def judging(record: Record, *, rows: int, classes: int, target: float | None, runs: int) -> None:
    """Every figure without intervals, and with those of 1,000 replicates. target: seconds that these may add."""
    with record.guarded("evaluate/data"):
        device = record.place.device
        random = torch.Generator(device).manual_seed(0)
        labels = torch.randint(0, classes, (rows,), generator=random, device=device)
        logits = 2 * torch.randn(rows, classes, generator=random, device=device)
        logits[torch.arange(rows, device=device), labels] += 8
        counts = (1280 * np.exp(-np.arange(classes) / (classes / 5)) + 5).astype(int)
        plain = record.timed("evaluate/figures", lambda: evaluate(logits, labels, counts), runs=runs)
        drawn = record.timed(
            "evaluate/with intervals",
            lambda: evaluate(logits, labels, counts, replicates=REPLICATES),
            runs=runs,
            note=lambda report: f"{len(report.values)} figures of {rows:,} rows x {classes:,} classes",
        )
        if plain is None or drawn is None:
            raise RuntimeError("the figures were not computed")
        spent = [more - less for more, less in zip(drawn.seconds, plain.seconds, strict=True)]
        record.found(
            "evaluate/replicates", statistics.median(spent), "s", at_most=target, note=f"{REPLICATES:,} replicates"
        )
