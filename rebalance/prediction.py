"""The most likely classes of rows and their probabilities, under the head's own prior or another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from rebalance.prior import as_prior


@dataclass(frozen=True, eq=False)
class Ranked:
    """The k most likely classes of every row, the likeliest first.

    classes: (B, k) class ids; equally likely ones in the order of their ids. probabilities: (B, k) float64.
    """

    classes: Tensor
    probabilities: Tensor


def ranked(logits: Tensor, k: int = 1, *, offsets: Tensor | None = None) -> Ranked:
    """What the logits say of every row.

    logits: (B, K), finite. k: how many classes, 1 to K. offsets: (K,), added to the logits first, as `prior_offsets`
    gives them; a class of -inf has probability 0 and comes after all others.
    ValueError when k is out of range or a logit is not finite.

    Classes are ordered by these sums and not by their probabilities, which may round to one another.
    """
    if not 1 <= k <= logits.shape[1]:
        raise ValueError(f"the {k} most likely of {logits.shape[1]} classes; expected 1 to {logits.shape[1]}")
    if not bool(torch.isfinite(logits).all()):
        row = int((~torch.isfinite(logits)).any(dim=1).to(torch.uint8).argmax())
        raise ValueError(f"logits row {row} of {len(logits)} holds NaN or infinity; expected finite numbers")
    scores = logits.double()
    if offsets is not None:
        scores = scores + offsets.to(scores.device, torch.float64)
    # One more than is wanted: where two of them are equal, topk promises no order, and a stable sort is slow.
    top, classes = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    tied = (top[:, 1:] == top[:, :-1]).any(dim=1)
    if bool(tied.any()):
        top[tied], classes[tied] = (
            each[:, : top.shape[1]] for each in scores[tied].sort(dim=1, descending=True, stable=True)
        )
    return Ranked(classes[:, :k], (top[:, :k] - scores.logsumexp(dim=1, keepdim=True)).exp())


def prior_offsets(source: ArrayLike, target: ArrayLike) -> Tensor:
    """What turns logits under one prior into logits under another (K,): log target - log source, float64.

    source: (K,) shares that the probabilities are right for. target: (K,) shares wanted. Of any sum; equal ones give
    exact zeros. A class of target 0 gets -inf: it never comes, whatever its source is.
    ValueError when they are no shares, or a class that comes in the target never comes in the source: then nothing
    is known of it.
    Source: Saerens et al. (Neural Computation 2002), equation 4.
    """
    before = as_prior(source, len(source), name="source prior")  # type: ignore[arg-type]  # shares have a length
    after = as_prior(target, len(before), name="target prior")
    unknown = (before == 0) & (after > 0)
    if bool(unknown.any()):
        lost = int(unknown.to(torch.uint8).argmax())
        raise ValueError(
            f"class {lost} has share 0 in the source prior and {float(after[lost]):.4g} in the target: no probability "
            "of it is known; expected a source above 0 wherever the target is"
        )
    return torch.where(after > 0, after.log() - before.log(), -torch.inf)
