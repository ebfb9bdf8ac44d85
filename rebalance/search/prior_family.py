"""The one-parameter family ``z - tau log pi`` on rows whose logits are at hand, searched for any metric of counts."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

from rebalance import ranks
from rebalance.search.ascent import Logits, predict
from rebalance.search.confusion import Ids, count_metric, gain_errors
from rebalance.search.intervals import row_intervals
from rebalance.search.path import SAME, Floats, Sweep, correct_intervals
from rebalance.search.selection import choose, within_error

TAUS = np.arange(31) / 10  # what is tried where a row may be worth something on several intervals of tau
COLUMNS = 2**21  # scores looked at together: 16 MiB of float64, and a few copies


class PriorFamily:
    """What every tau makes of every row, so that a subset of the rows can be searched at once.

    logits: (K, N). labels: (N,). log_prior: (K,). metric: see `count_metric`.
    Accuracies are searched exactly. Macro-F1 and costs also change where a row goes from one wrong class to another,
    which has no single interval of tau: they are searched on a grid, 0 to 3 in tenths.
    """

    def __init__(self, logits: Logits, labels: Ids, log_prior: Floats, metric: str | ArrayLike) -> None:
        self._labels, self._classes, self._metric = labels, len(log_prior), metric
        self._exact = isinstance(metric, str) and metric in ("balanced", "top1")
        if self._exact:
            self._lo, self._hi = _intervals(logits, labels, -log_prior)
        else:
            self._guesses = np.stack([predict(logits, -tau * log_prior) for tau in TAUS])

    def tau(self, rows: Ids) -> float:
        """The middle of all tau within one standard error of the best on these rows."""
        metric = count_metric(self._metric, self._labels[rows], self._classes)
        if self._exact:
            # The gains of predicting every row right are the weights of the rows.
            weights = metric.gains(self._labels[rows])
            return choose(Sweep.of(self._lo[rows], self._hi[rows]), weights).value
        guesses = self._guesses[:, rows]
        values = np.array([metric.value(each) for each in guesses])
        top = int(np.flatnonzero(values >= values.max() - SAME)[0])
        errors = gain_errors(np.stack([metric.gains(each) for each in guesses]), top)
        first, last = within_error(values, errors, top)
        return float(TAUS[(first + last) // 2])


def _intervals(logits: Logits, labels: Ids, slopes: Floats) -> tuple[Floats, Floats]:
    """The interval of tau (N,) and (N,) on which each row is right."""
    step = max(1, COLUMNS // len(slopes))
    own = ranks.window(len(labels))  # row_intervals puts together what the ranks have each found
    parts = [slice(start, min(start + step, own.stop)) for start in range(own.start, own.stop, step)]
    of_rows = ((part, torch.from_numpy(logits[:, part].T.astype(np.float64))) for part in parts)
    lines = torch.from_numpy(slopes)
    return row_intervals(of_rows, torch.from_numpy(labels), lambda z, own: correct_intervals(z, lines, own))
