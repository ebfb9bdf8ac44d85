"""How far features reach: the unit in which a step along them is measured."""

from __future__ import annotations

import math

import torch

from rebalance import ranks
from rebalance.blocks import blocks
from rebalance.rows import Rows

POWERS = 5  # passes over the features; the deviation is then known to some percent, which is enough for a unit


def largest_deviation(rows: Rows) -> float:
    """About the largest standard deviation of the labelled rows in any direction, by power iteration.

    1 where all rows are the same.
    """
    mean = rows.mean.float()
    # Any direction will do that is not across the largest; a drawn one is not.
    along = torch.randn(len(mean), generator=torch.Generator().manual_seed(0)).to(mean.device)
    variance = 0.0
    for _ in range(POWERS):
        turned = torch.zeros_like(mean)
        along = along / torch.linalg.vector_norm(along)
        for part, block in blocks(rows.features, device=mean.device):
            centred = torch.where(rows.labels[part, None] >= 0, block - mean, 0.0)
            turned += (centred @ along) @ centred
        ranks.total(turned)
        variance = float(torch.linalg.vector_norm(turned)) / float(rows.counts.sum())
        if not variance > 0:
            return 1.0
        along = turned
    return math.sqrt(variance)
