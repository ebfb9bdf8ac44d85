"""How many rows a batch has where nobody says: recorded ones, else those that trial batches are fastest with."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from featurecache import layout
from featurecache.extraction.forward import Forward, OutOfMemory
from featurecache.inputs import taken
from featurecache.plan import read_plan

LARGEST = {"cpu": 128}
LARGEST_ELSEWHERE = 1024
ENOUGH = 0.95  # of the best speed: a smaller batch that reaches it takes less memory and loses less when stopped
PATIENCE = 4.0  # seconds: no batch is tried that would take longer
TRIALS = 3  # of every size, of which the fastest counts


def recorded(cache: Path, splits: Iterable[str]) -> int | None:
    """Rows of a batch of the first of these splits that is planned already, else of any; None for a new cache."""
    if not (cache / layout.CACHE_FILE).exists():
        return None
    plans = read_plan(cache).splits
    there = [plans[name] for name in splits if name in plans] or list(plans.values())
    return there[0].batch_size if there else None


def fastest(forward: Forward, inputs: Any, rows: int) -> int:
    """The smallest batch whose speed is nearly that of the best, in powers of two.

    forward: ready. inputs: of some rows, which are repeated. rows: how many.
    """
    largest = LARGEST.get(forward.computing.device.type, LARGEST_ELSEWHERE)
    speeds: dict[int, float] = {}
    size, without_gain = 1, 0
    while size <= largest and without_gain < 2:
        try:
            seconds = _seconds(forward, taken(inputs, rows, torch.arange(size) % rows), size)
        except OutOfMemory:
            # What just fits may not fit again between other allocations: half of it does.
            speeds = {tried: speed for tried, speed in speeds.items() if tried < max(speeds)} or speeds
            break
        without_gain = 0 if size / seconds > max(speeds.values(), default=0.0) else without_gain + 1
        speeds[size] = size / seconds
        if 2 * seconds > PATIENCE:
            break
        size *= 2
    best = max(speeds.values(), default=0.0)
    return min((tried for tried, speed in speeds.items() if speed >= ENOUGH * best), default=1)


def _seconds(forward: Forward, inputs: Any, rows: int) -> float:
    """Of one forward, results on the CPU; the first is not counted."""
    times = []
    for _ in range(1 + TRIALS):
        began = time.perf_counter()
        forward(inputs, rows, rows).features.cpu()
        times.append(time.perf_counter() - began)
        if times[-1] > PATIENCE / 2:
            break
    return min(times[1:] or times)
