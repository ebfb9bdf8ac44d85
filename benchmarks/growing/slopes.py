"""How time and memory grow with rows: slopes, their intervals, and whether they are what they should be."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from extracting.growth import ALLOWED
from scipy.stats import linregress
from scipy.stats import t as student

from growing.sizes import Run

FROM = 100_000  # rows from which on time must be linear; below, what a command takes at least counts too much
STEEPEST = 1.1  # of log seconds over log rows
SURE = 0.95


@dataclass(frozen=True)
class Growth:
    """How one task grows.

    slope, low, high: of log processor seconds over log rows with its 95 % interval, from FROM rows on and as far as
    the solver takes the same way; None where that is one size only (low, high: where it is two runs only). wall: the
    slope of wall seconds. row_seconds: processor seconds a row at most rows. row_bytes: anonymous bytes a row, from
    the fewest of these sizes to the most; NaN where that is one size only.
    """

    slope: float | None
    low: float | None
    high: float | None
    wall: float | None
    row_seconds: float
    row_bytes: float

    @property
    def linear(self) -> bool | None:
        """Whether the time is."""
        return None if self.slope is None else self.slope <= STEEPEST

    @property
    def flat(self) -> bool:
        """Whether the memory is, but for labels and ids."""
        return self.row_bytes <= ALLOWED


def growth(runs: Sequence[Run], *, of: str = "") -> Growth:
    """How the runs of one task grow. of: "pass_" for the pass of an extraction alone."""
    most = max(run["rows"] for run in runs)
    last = [run for run in runs if run["rows"] == most]
    alike = [run for run in runs if run["rows"] >= FROM and way(run) == way(last[0])]
    least = min((run["rows"] for run in alike), default=most)
    slope, low, high = _slope([(run["rows"], run[f"{of}processor"]) for run in alike])
    memory = {rows: at(runs, rows, f"{of}anonymous") for rows in (least, most)}
    return Growth(
        slope,
        low,
        high,
        _slope([(run["rows"], run[f"{of}seconds"]) for run in alike])[0],
        at(runs, most, f"{of}processor") / most,
        (memory[most] - memory[least]) / (most - least) if most > least else math.nan,
    )


def way(run: Run) -> tuple[object, ...]:
    """Which of its ways a solver took: other ones cost other times."""
    return run["solver"].get("recipe"), run["solver"].get("products")


def at(runs: Sequence[Run], rows: int, what: str) -> float:
    """The median of what the runs of so many rows took."""
    return statistics.median(run[what] for run in runs if run["rows"] == rows)


def _slope(points: Sequence[tuple[int, float]]) -> tuple[float | None, float | None, float | None]:
    """The least-squares slope in logarithms, and the ends of its interval."""
    if len({rows for rows, _ in points}) < 2:
        return None, None, None
    found = linregress([math.log(rows) for rows, _ in points], [math.log(seconds) for _, seconds in points])
    slope = float(found.slope)
    if len(points) < 3:
        return slope, None, None
    reach = float(student.ppf((1 + SURE) / 2, len(points) - 2) * found.stderr)
    return slope, slope - reach, slope + reach
