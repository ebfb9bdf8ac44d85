"""The journal of the steps, read: how long what took, and how long what is left may take."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .steps import Step


def lines(journal: Path) -> list[dict[str, Any]]:
    """Every step that was run, in the order in which they ended."""
    if not journal.exists():
        return []
    found = []
    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:  # the last one, cut off
            continue
    return found


def seconds(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Median CPU seconds of the steps that ended well, by kind: SET/RUN/WHAT without the seed."""
    by: dict[str, list[float]] = {}
    for row in rows:
        if row["rc"] == 0:
            kind = "/".join(Step(row["name"], ()).kind)
            by.setdefault(kind, []).append(row["cpu"])
    return {kind: round(statistics.median(values), 1) for kind, values in sorted(by.items())}


def forecast(steps: Sequence[Step], known: Mapping[str, float], workers: int) -> tuple[float, int]:
    """Minutes that steps take on so many free cores, and for how many of them nothing is known.

    known: seconds by kind.
    """
    costs = [known.get("/".join(step.kind)) for step in steps]
    return sum(cost for cost in costs if cost) / workers / 60, sum(cost is None for cost in costs)


def spent(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Minutes of all steps that ended well, also of those that were run again, and the mean load of the machine.

    clock: by the wall, as if the processes had been busy all the time. cpu: of processors.
    """
    good = [row for row in rows if row["rc"] == 0]
    return {
        "clock": sum(row["wall"] / row.get("workers", 2) for row in good) / 60,
        "cpu": sum(row["cpu"] for row in good) / 60,
        "load": statistics.fmean(row["load"] for row in good) if good else 0.0,
    }
