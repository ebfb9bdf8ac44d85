"""Every class's own probabilities, binned: what class-wise calibration needs of N x K numbers, kept small.

Of a row no more than 15 probabilities lie above 1/15, the first bin's end: these are kept one by one. The others are
only ever summed, class by class and for every replicate of the bootstrap, and that is done while the logits stream by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rebalance import ranks
from rebalance.metrics.calibration import ECE_BINS, bin_of

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Likely:
    """The probabilities of n rows and K classes, binned.

    row, column, value: (M,), those above the first bin's end; row counts the n labelled ones. small: (K,), the
    weighted sum of all others by class. drawn: (K, R), the same in every replicate.
    """

    row: Ids
    column: Ids
    value: Floats
    small: Floats
    drawn: Floats

    @property
    def place(self) -> Ids:
        """(M,) the bin of every probability that was kept."""
        return bin_of(self.value, ECE_BINS)


class Collector:
    """Gathers the probabilities of blocks.

    rows: N. num_classes: K. weights: (N,), 0 for a row without a label. times: (R, N), how often each row is drawn.
    """

    def __init__(
        self, rows: int, num_classes: int, weights: Floats, times: NDArray[np.uint8], device: torch.device
    ) -> None:
        self._weights, self._times = weights, times
        most = min(ECE_BINS, num_classes)  # 15 equal ones may round to above 1/15
        self._columns = torch.zeros((rows, most), dtype=torch.int32, device=device)
        self._values = torch.zeros((rows, most), dtype=torch.float64, device=device)
        self._small = torch.zeros(num_classes, dtype=torch.float64, device=device)
        self._drawn = torch.zeros((len(times), num_classes), dtype=torch.float64, device=device)

    def add(self, part: slice, probabilities: Tensor) -> None:
        """Take in a block (B, K) of them, which is written over."""
        p, device = probabilities, probabilities.device
        row, column = (p > 1 / ECE_BINS).nonzero(as_tuple=True)
        # Which of its row's each one is: its number less that of the row's first.
        number = torch.arange(len(row), device=device) - torch.searchsorted(row, row)
        row_here = row + part.start
        here = self._values.device
        self._columns[row_here.to(here), number.to(here)] = column.to(here, torch.int32)
        self._values[row_here.to(here), number.to(here)] = p[row, column].to(here)
        p[row, column] = 0.0
        weights = torch.from_numpy(self._weights[part]).to(device)
        self._small += (weights @ p).to(here)
        if len(self._times):
            # float32 is enough for the spread of the replicates, and the product is the costly part of it all.
            drawn = torch.from_numpy(self._times[:, part]).to(device).float().mul_(weights.float())
            self._drawn += (drawn @ p.float()).to(here)

    def result(self, known: Ids) -> Likely:
        """What was gathered; known: (n,), the rows that have a label."""
        ranks.total(self._columns, self._values, self._small, self._drawn)
        columns, values = self._columns.cpu().numpy()[known], self._values.cpu().numpy()[known]
        row, slot = np.nonzero(values)
        return Likely(
            row,
            columns[row, slot].astype(np.int64),
            values[row, slot],
            self._small.cpu().numpy(),
            self._drawn.T.cpu().numpy(),
        )
