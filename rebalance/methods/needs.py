"""What methods ask of their three arguments, checked where the data enter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rebalance.blocks import Features, Labels, as_labels, blocks, refuse_nonfinite, width
from rebalance.classes import class_counts
from rebalance.head import LinearHead


def need_head(head: LinearHead | None, method: str) -> LinearHead:
    """The head; ValueError when there is none."""
    if head is None:
        raise ValueError(f"{method} changes a trained head and none was given; expected the head of the model")
    return head


def need_linear(head: LinearHead | None, method: str) -> LinearHead:
    """The head; ValueError when there is none or it is not plainly affine in the features."""
    head = need_head(head, method)
    if type(head) is not LinearHead:
        raise ValueError(f"{method} changes weight and bias of a linear head; got a {type(head).__name__}")
    return head


def lineage(head: LinearHead) -> dict[str, Any]:
    """What the record of a head made from this one still says: not how this one was tuned or solved."""
    return {key: value for key, value in head.record.items() if key not in ("tuned", "solver")}


@dataclass(frozen=True)
class Rows:
    """Labelled training rows.

    labels: (N,) on the device of the fit. counts: (K,) rows a class. sums: (K, D) float64 sums of the class's
    features. device: where the fit runs.
    """

    labels: Tensor
    counts: Tensor
    sums: Tensor
    device: torch.device

    @property
    def mean(self) -> Tensor:
        """(D,) float64 mean over the labelled rows."""
        return self.sums.sum(dim=0) / self.counts.sum()


def need_rows(head: LinearHead | None, features: Features, labels: Labels) -> Rows:
    """Counts and class sums of the labelled rows, in one pass.

    head: gives K and D when it is there; otherwise K is the largest label + 1.
    ValueError when the shapes do not fit, no row has a label, or a feature is not finite (the sums show it for free:
    float64 cannot overflow on float32 rows).
    """
    target = as_labels(labels)
    if len(target) != len(features):
        raise ValueError(f"{len(target)} labels for {len(features)} rows of features; expected one a row")
    if not bool((target >= 0).any()):
        raise ValueError("no row has a label; expected at least one labelled row to fit on")
    if head is not None and width(features) != head.width:
        raise ValueError(
            f"features are {width(features)} wide, the head takes {head.width}: they come from different models"
        )
    classes = head.num_classes if head is not None else int(target.max()) + 1
    if isinstance(features, Tensor):
        device = features.device
    else:  # an array has none: it is streamed to where the head is
        device = torch.device("cpu") if head is None else head.weight.device
    target = target.to(device)
    counts = class_counts(target, classes)
    sums = torch.zeros((classes + 1, width(features)), dtype=torch.float64, device=device)
    slots = torch.where(target >= 0, target, classes)  # unlabelled rows are summed apart, and dropped
    for part, block in blocks(features, device=device):
        sums.index_add_(0, slots[part], block.double())
    if not bool(torch.isfinite(sums).all()):
        refuse_nonfinite(features)
    return Rows(target, counts, sums[:classes], device)
