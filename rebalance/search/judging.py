"""The rows that judge: which they are, what each is worth, and whether a head is right on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rebalance import ranks
from rebalance.blocks import Features, Labels, as_labels, own_blocks, refuse_nonfinite, width
from rebalance.classes import class_counts
from rebalance.head import LinearHead
from rebalance.methods import Method
from rebalance.metrics import balanced_row_weights, correct_rows
from rebalance.search.bootstrap import bootstrap_errors
from rebalance.search.path import Floats
from rebalance.search.selection import Select

Metric = Literal["balanced", "top1"]
Right: TypeAlias = NDArray[np.bool_]

METRICS: dict[str, Callable[[NDArray[np.int64]], Floats]] = {
    "balanced": balanced_row_weights,
    "top1": lambda labels: np.full(len(labels), 1.0 / len(labels)),
}


@dataclass(frozen=True)
class Judge:
    """Rows that judge, and the rule they judge by.

    features, labels: (N, D) and (N,), -1 where a row has none. metric, select, seed: as `tune` was asked.
    fold: (N,), the part of the rows that each belongs to when they take turns, else None.
    """

    features: Features
    labels: Tensor
    metric: Metric
    select: Select
    seed: int
    fold: NDArray[np.int64] | None = None

    @cached_property
    def truth(self) -> NDArray[np.int64]:
        """(N,) the labels."""
        return self.labels.cpu().numpy()

    @cached_property
    def weights(self) -> Floats:
        """(N,) the share of the metric that each row holds, 0 for one without a label."""
        known = self.truth >= 0
        shares = np.zeros(len(known))
        shares[known] = METRICS[self.metric](self.truth[known])
        return shares

    def right(self, head: LinearHead, rows: Right | None = None) -> Right:
        """Whether the head is right on each row (N,).

        rows: (N,), which rows are looked at; the others are False. ValueError when a logit is not finite.
        """
        out = np.zeros(len(self.labels), dtype=np.uint8)
        for part, block in own_blocks(self.features, device=head.weight.device, columns=head.num_classes):
            chosen = np.arange(len(out))[part] if rows is None else part.start + np.flatnonzero(rows[part])
            if not len(chosen):
                continue
            logits = head(block if rows is None else block[torch.from_numpy(chosen - part.start).to(block.device)])
            if not bool(torch.isfinite(logits).all()):
                refuse_nonfinite(self.features)
            out[chosen] = correct_rows(logits, self.labels[torch.from_numpy(chosen).to(self.labels.device)])
        found = torch.from_numpy(out).to(head.weight.device)
        ranks.total(found)  # the rows of other ranks are 0 here
        return found.cpu().numpy().astype(np.bool_)

    def errors(self, right: Right, top: int) -> Floats:
        """The standard error (S,) of every head's difference to the head `top`; right: (N, S)."""
        if self.select == "1se-bootstrap":
            counted = right.astype(np.float64)
            return bootstrap_errors(lambda weights: weights @ counted, self.weights, self.truth, top, seed=self.seed)
        # McNemar's, as in Sweep.standard_errors.
        return np.asarray(np.sqrt(self.weights**2 @ (right != right[:, [top]])))


def judging_rows(
    name: str,
    line: Method,
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    val: tuple[Features, Labels] | None,
    folds: int | None,
) -> tuple[Features, Tensor]:
    """The rows that judge a method, features and labels; ValueError when there are none or they do not fit.

    name, line: the method. head: what it starts from. features, labels, val, folds: as `tune` was given them.
    """
    if line.on is None and val is not None:
        raise ValueError(f"{name} fits nothing: give the judging rows as features and labels, and no val")
    if line.on is None and folds is not None:
        raise ValueError(f"{name} fits nothing, so folds have nothing to keep apart: all rows judge it; give no folds")
    if folds is not None and val is not None:
        raise ValueError(f"{name} is given val and folds; expected one: val judges, or the rows of the fit in turn")
    if line.on is not None and folds is None and val is None:
        raise ValueError(
            f"{name} is fitted on the rows given and cannot be judged on them; expected val=(features, labels) or folds"
        )
    if val is not None and val[0] is features:
        raise ValueError(f"{name} would be judged on the rows it is fitted on; expected another split as val")
    rows = val or (features, labels)
    target = as_labels(rows[1])
    if len(target) != len(rows[0]):
        raise ValueError(f"{len(target)} labels for {len(rows[0])} rows of features; expected one a row")
    if not bool((target >= 0).any()):
        raise ValueError("no row has a label; expected labelled rows to judge on")
    if head is not None:
        class_counts(target, head.num_classes)
        if width(rows[0]) != head.width:
            raise ValueError(
                f"the judging features are {width(rows[0])} wide, the head takes {head.width}: "
                "they come from different models"
            )
    return rows[0], target
