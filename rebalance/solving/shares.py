"""What part of a loss each class holds: its rows times the weight of a row of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def effective_shares(counts: Tensor, beta: float, rows: Tensor | None = None) -> Tensor:
    """Shares (K,) in float64 when a row of a class weighs 1 / (1 - beta^n), one over its effective number of rows.

    counts: n, (K,) training rows a class, above 0 where the class has rows. beta: 0 weighs every row the same, 1 every
    class. rows: (K,) of the fit, if they are others than n. ValueError when beta is not from 0 to 1.
    Source: Cui et al. (CVPR 2019), proposition 1.
    """
    if not 0 <= beta <= 1:
        raise ValueError(f"beta is {beta}; expected a number from 0 to 1, such as 0.9999")
    known = counts.double()
    held = known if rows is None else rows.double()
    if beta == 1:
        each = 1 / known
    elif beta == 0:
        each = torch.ones_like(known)
    else:
        # 1 - beta^n, exact where beta is nearly 1.
        each = 1 / -torch.expm1(known * math.log(beta))
    return torch.where(held > 0, held * each, 0.0)


def power_shares(counts: Tensor, rho: float) -> Tensor:
    """Shares (K,) in float64 when a row of a class with n rows weighs n^-rho.

    counts: (K,) rows a class. rho: 0 weighs every row the same, 1 every class, more favours the rare ones. ValueError
    when rho is below 0 or not finite.
    Source: Zhang et al. (CVPR 2021), generalised re-weighting.
    """
    if not (rho >= 0 and math.isfinite(rho)):
        raise ValueError(f"rho is {rho}; expected a number from 0 on, such as 1.2")
    known = counts.double()
    # Relative to the most frequent class, so that no power overflows.
    logs = (known.clamp_min(1) / known.clamp_min(1).max()).log()
    return torch.where(known > 0, torch.exp((1 - rho) * logs), 0.0)
