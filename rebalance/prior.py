"""Class priors: what the training counts say, and what a target prior may be."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from rebalance.blocks import Labels
from rebalance.classes import class_counts

TargetPrior: TypeAlias = ArrayLike | Literal["uniform", "train"]
"""The prior a head is to be right for: every class alike, as in training, or K numbers of any sum."""

EMPTY = 0.5  # the rows a class without any counts as inside a logarithm


def training_counts(counts: ArrayLike | None, labels: Labels, num_classes: int) -> Tensor:
    """Training rows a class (K,), float64.

    counts: (K,), not negative, not all 0; None: those of the labels. labels: (N,), -1 where there is none.
    num_classes: K. ValueError when they are none of this.
    """
    if counts is None:
        found = class_counts(labels, num_classes).double()
        if not bool(found.any()):
            raise ValueError("no row has a label, so the classes have no counts; expected labels, or counts=(K,)")
        return found
    return _shares("counts", counts, num_classes, "training rows a class")


def log_prior(counts: ArrayLike) -> Tensor:
    """The logarithm of every class's share of the training rows (K,), float64.

    counts: (K,). An empty class counts as half a row, so that no logarithm is infinite; the shares still sum to 1.
    """
    rows = torch.as_tensor(counts, dtype=torch.float64)
    rows = torch.where(rows > 0, rows, EMPTY)
    logs: Tensor = (rows / rows.sum()).log()
    return logs


def as_prior(values: ArrayLike, num_classes: int, *, name: str = "prior") -> Tensor:
    """The shares (K,) that the values stand for, float64, with sum 1.

    values: (K,), not negative, not all 0. num_classes: K. name: what a refusal calls them. ValueError when they are
    none of this.
    """
    shares = _shares(name, values, num_classes, "shares of the classes")
    shares = shares / shares.max()  # first, for a sum of the largest numbers there are would overflow
    return shares / shares.sum()


def log_target(target: TargetPrior, logs: Tensor) -> Tensor:
    """The logarithm of a target prior (K,), relative to its most frequent class; -inf for a class that never comes.

    target: uniform, train, or shares. logs: (K,), log_prior of the training counts.
    Relative, so that a uniform target is exactly zeros.
    """
    if isinstance(target, str):
        if target not in ("uniform", "train"):
            raise ValueError(f"target_prior is {target!r}; expected uniform, train or {len(logs)} numbers")
        return torch.zeros_like(logs) if target == "uniform" else logs - logs.max()
    shares = as_prior(target, len(logs), name="target_prior").to(logs.device)
    return (shares / shares.max()).log()


def shifted_prior(counts: ArrayLike, ratio: float, *, backward: bool = False) -> Tensor:
    """The shares (K,), float64, of a test set with its own long tail.

    counts: (K,) training rows a class. ratio: between the most and the least frequent class, 1 or more.
    backward: the class with the fewest training rows comes most often, instead of least.
    The classes are ranked by their training rows (ties: the lower class id is the more frequent) and their shares fall
    geometrically from rank to rank. Source: Hong et al. (CVPR 2021), section 4.1: shifted test label distributions.
    ValueError when the counts are none, or the ratio is not a finite number from 1 on.
    """
    rows = _shares("counts", counts, len(counts), "training rows a class").numpy()  # type: ignore[arg-type]
    if not (ratio >= 1 and np.isfinite(ratio)):
        raise ValueError(f"the ratio of a shifted prior is {ratio}; expected a number from 1 on, such as 50")
    order = np.argsort(-rows, kind="stable")
    falling = ratio ** -(np.arange(len(rows)) / max(1, len(rows) - 1))
    shares = np.empty(len(rows))
    shares[order] = falling[::-1] if backward else falling
    return torch.from_numpy(shares / shares.sum())


def _shares(name: str, values: ArrayLike, num_classes: int, meaning: str) -> Tensor:
    """The values as a float64 tensor (K,); ValueError unless they are K numbers from 0 on, one of them above."""
    try:
        array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} are no numbers; expected {num_classes}, {meaning}") from None
    if array.shape != (num_classes,):
        raise ValueError(f"{name} have shape {array.shape}; expected ({num_classes},), {meaning}")
    wrong = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
    if len(wrong):
        raise ValueError(f"{name}: that of class {wrong[0]} is {array[wrong[0]]:g}; expected 0 or more, {meaning}")
    if not array.any():
        raise ValueError(f"{name} are all 0; expected {meaning}")
    return torch.from_numpy(array.copy())
