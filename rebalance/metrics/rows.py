"""What a head makes of every row: one pass over its logits, from which all figures and their intervals follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rebalance import ranks
from rebalance.blocks import Features, blocks, own_blocks, refuse_nonfinite, width
from rebalance.head import LinearHead
from rebalance.metrics.classwise import Collector, Likely

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
Bools = NDArray[np.bool_]
Blocks = Iterable[tuple[slice, Tensor]]
TOP = 5  # of how many best classes the label may be one, for top-5


@dataclass(frozen=True, eq=False)
class RowResults:
    """What a head makes of n labelled rows of N.

    rows: (n,), which of the N they are. labels, predictions: (n,) class ids. confidence: (n,), the largest
    probability, in [0, 1]. nll: (n,), negative log-likelihood in nats. brier: (n,), sum over the classes of the squared
    distance to the one that is right, in [0, 2]. place: (n,), how many classes come before the right one.
    minimum_risk: (n,), the decision of least expected cost, None without costs.
    weights: (n,) with sum 1. likely: the probabilities class by class, for class-wise calibration.
    every_prediction, every_confidence, every_minimum_risk: (N,), of rows without a label too.
    """

    rows: Ids
    labels: Ids
    predictions: Ids
    confidence: Floats
    nll: Floats
    brier: Floats
    place: Ids
    minimum_risk: Ids | None
    weights: Floats
    likely: Likely
    every_prediction: Ids
    every_confidence: Floats
    every_minimum_risk: Ids | None

    @property
    def correct(self) -> Bools:
        """(n,) whether the prediction is the label."""
        return np.asarray(self.predictions == self.labels)

    @property
    def in_top5(self) -> Bools:
        """(n,) whether the label is among the five largest logits (ties: the lower class id comes first)."""
        return np.asarray(self.place < TOP)


def row_results(
    logits: Blocks,
    labels: Tensor,
    num_classes: int,
    weights: Floats,
    times: NDArray[np.uint8],
    costs: Floats | None = None,
) -> RowResults:
    """What the logits say of every row.

    logits: blocks of (slice, (B, K)), of the rows that this rank reads. labels: (N,), -1 where there is none.
    weights: (N,), 0 for a row without a label. times: (R, N), how often each row is drawn in each replicate.
    costs: (K, K) by label and prediction.
    """
    device, total = labels.device, len(labels)
    found = _Store(total, device, risk=costs is not None)
    classwise = Collector(total, num_classes, weights, times, device)
    for part, block in logits:
        own = labels[part].to(block.device)
        found.add(part, block, own, None if costs is None else torch.from_numpy(costs).to(block.device))
        classwise.add(part, found.probabilities)
    ranks.total(*found.tensors())  # the rows of other ranks are zero here
    truth = labels.cpu().numpy()
    known = np.flatnonzero(truth >= 0)
    guess, place, confidence, nll, brier = (each.cpu().numpy() for each in found.tensors()[:5])
    risk = None if found.risk is None else found.risk.cpu().numpy()
    return RowResults(
        rows=known,
        labels=truth[known],
        predictions=guess[known],
        confidence=confidence[known].clip(0.0, 1.0),
        nll=nll[known],
        brier=brier[known],
        place=place[known],
        minimum_risk=None if risk is None else risk[known],
        weights=weights[known],
        likely=classwise.result(known),
        every_prediction=guess,
        every_confidence=confidence.clip(0.0, 1.0),
        every_minimum_risk=risk,
    )


class _Store:
    """Tensors (N,) that are filled block by block."""

    def __init__(self, rows: int, device: torch.device, *, risk: bool) -> None:
        self._ids = [torch.zeros(rows, dtype=torch.int64, device=device) for _ in range(2)]
        self._numbers = [torch.zeros(rows, dtype=torch.float64, device=device) for _ in range(3)]
        self.risk = torch.zeros(rows, dtype=torch.int64, device=device) if risk else None
        self.probabilities = torch.empty(0)

    def tensors(self) -> list[Tensor]:
        """Prediction, place, confidence, nll, brier, and the decision of least risk where there are costs."""
        return [*self._ids, *self._numbers, *([] if self.risk is None else [self.risk])]

    def add(self, part: slice, block: Tensor, own: Tensor, costs: Tensor | None) -> None:
        """Fill the rows of a block of logits (B, K) with labels (B,); its probabilities (B, K) are kept for the next
        who wants them, and may write over them."""
        column = own.clamp_min(0)[:, None]
        log_p = torch.log_softmax(block.double(), dim=1)
        truth = log_p.gather(1, column)[:, 0]
        confidence = log_p.amax(dim=1).exp()
        self.probabilities = p = log_p.exp_()
        # argmax and place from the logits themselves: the softmax may round two of them to one.
        mine = block.gather(1, column)
        place = (block > mine).sum(dim=1, dtype=torch.int32)
        tied = block == mine
        if int(torch.count_nonzero(tied)) > len(block):  # each row ties with itself
            place += (tied & (torch.arange(block.shape[1], device=block.device) < column)).sum(dim=1, dtype=torch.int32)
        brier = torch.linalg.vector_norm(p, dim=1) ** 2 - 2 * truth.exp() + 1
        values = [block.argmax(dim=1), place, confidence, -truth, brier.clamp_min(0)]
        if costs is not None:
            values.append((p @ costs).argmin(dim=1))
        for store, value in zip(self.tensors(), values, strict=True):
            store[part] = value.to(store.device, store.dtype)


def given_logits(logits: Features) -> Iterator[tuple[slice, Tensor]]:
    """Those of logits (N, K) that this rank reads, in blocks; ValueError naming the first row with NaN or infinity."""
    if ranks.size() > 1:  # all of them refuse, or the others would wait for the one that does
        refuse_bad_logits(logits)
    for part, block in own_blocks(logits):
        if not bool(torch.isfinite(block.sum())):
            refuse_bad_logits(logits)
        yield part, block


def head_logits(head: LinearHead, features: Features) -> Iterator[tuple[slice, Tensor]]:
    """The head's logits of the rows this rank reads, in blocks; ValueError that names a row which is not finite."""
    for part, block in own_blocks(features, device=head.weight.device, columns=head.num_classes):
        made = head(block)
        if not bool(torch.isfinite(made.sum())):
            refuse_nonfinite(features)
            refuse_bad_logits(made)
        yield part, made


def correct_rows(logits: Features, labels: Tensor) -> Bools:
    """Whether each row's largest logit is its label's (ties: the lowest class id); False for a label of -1.

    ValueError when a logit is NaN or infinite.
    """
    refuse_bad_logits(logits)
    parts = [block.argmax(dim=1) == labels[part].to(block.device) for part, block in blocks(logits)]
    return torch.cat(parts).cpu().numpy()


def refuse_bad_logits(logits: Features) -> None:
    """Raise the ValueError that names the first row of logits with NaN or infinity; nothing happens without one."""
    width(logits)
    for part, block in blocks(logits):
        if not bool(torch.isfinite(block).all()):
            row = part.start + int((~torch.isfinite(block)).any(dim=1).to(torch.uint8).argmax())
            raise ValueError(f"logits row {row} of {len(logits)} holds NaN or infinity; expected finite numbers")
