"""The training rows of a fit: checked where they enter, counted and summed up in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rebalance import ranks
from rebalance.blocks import Features, Labels, as_labels, blocks, refuse_nonfinite, width, window
from rebalance.classes import class_counts
from rebalance.head import LinearHead

ROWS_A_SUM = 4096


@dataclass(frozen=True)
class Rows:
    """Training rows: those this rank reads, and what is known of all of them.

    features: (M, D), the rows of this rank; all N where rows are not shared (see rebalance.ranks). labels: (M,) of
    these rows, on the device of the fit. whole: (N,) the labels of all rows, on the CPU. counts: (K,) rows a class.
    sums: (K, D) float64 sums of the class's features. device: where the fit runs.
    """

    features: Features
    labels: Tensor
    whole: Tensor
    counts: Tensor
    sums: Tensor
    device: torch.device

    @property
    def mean(self) -> Tensor:
        """(D,) float64 mean over the labelled rows."""
        mean: Tensor = self.sums.sum(dim=0) / self.counts.sum()
        return mean

    def mine(self, rows: Tensor) -> Tensor:
        """Of row numbers among all rows those that this rank reads, as numbers of its own rows; the order is kept."""
        part = ranks.window(len(self.whole))
        mine: Tensor = rows[(rows >= part.start) & (rows < part.stop)] - part.start
        return mine


def need_rows(head: LinearHead | None, features: Features, labels: Labels, *, exact: bool = False) -> Rows:
    """Counts and class sums of the labelled rows, in one pass.

    head: gives K and D when it is there; otherwise K is the largest label + 1. exact: sum up in float64 throughout,
    for who must tell a constant column from one that varies.
    ValueError when the shapes do not fit, no row has a label, or a feature is not finite or so large that sums are
    not (the sums show it for free).
    """
    whole = as_labels(labels)
    if len(whole) != len(features):
        raise ValueError(f"{len(whole)} labels for {len(features)} rows of features; expected one a row")
    if not bool((whole >= 0).any()):
        raise ValueError("no row has a label; expected at least one labelled row to fit on")
    if head is not None and width(features) != head.width:
        raise ValueError(
            f"features are {width(features)} wide, the head takes {head.width}: they come from different models"
        )
    classes = head.num_classes if head is not None else int(whole.max()) + 1
    if isinstance(features, Tensor):
        device = features.device
    else:  # an array has none: it is streamed to where the head is
        device = torch.device("cpu") if head is None else head.weight.device
    part = ranks.window(len(whole))
    own, target = window(features, part), whole[part].to(device)
    counts = class_counts(whole, classes).to(device)
    sums = _sums(own, target, classes, device, torch.float64 if exact else torch.float32)
    ranks.total(sums)
    if not bool(torch.isfinite(sums).all()):
        refuse_nonfinite(features)
        raise ValueError("the features are too large: their sums leave float32; scale them down")
    return Rows(own, target, whole.cpu(), counts, sums, device)


def _sums(features: Features, labels: Tensor, classes: int, device: torch.device, kind: torch.dtype) -> Tensor:
    """Class sums (K, D) in float64; NaN in them wherever a row, labelled or not, is not finite.

    kind: float32 adds up some thousand rows at a time in it, which takes a tenth of float64's time and errs by 1e-6.
    """
    wide = width(features)
    sums = torch.zeros((classes, wide), dtype=torch.float64, device=device)
    partial = torch.zeros((classes + 1, wide), dtype=kind, device=device)
    slots = torch.where(labels >= 0, labels, classes)  # unlabelled rows are summed apart, looked at, and dropped
    added = 0
    for part, block in blocks(features, device=device):
        partial.index_add_(0, slots[part], block.to(kind))
        added += len(block)
        if added >= max(ROWS_A_SUM, 4 * classes) or part.stop == len(features):
            sums += partial[:classes]
            sums += 0.0 * partial[classes]
            partial.zero_()
            added = 0
    return sums
