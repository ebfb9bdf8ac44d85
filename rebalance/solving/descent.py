"""Stochastic descent for linear heads: one seeded pass instead of many, in bfloat16 where the processor multiplies it.

Rows are visited so that every class gets its share of the visits, evenly over the whole run. The features are
centred, which is what lets the step be as large as it is. What regularises is the weight decay and the number of
visits; nothing else stops early.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rebalance import ranks
from rebalance.blocks import product_type, take
from rebalance.rows import Rows
from rebalance.solving.loss import SoftmaxLoss

BATCH = 512
MOMENTUM = 0.9
STEP = 1.2  # logits by which one visit may move its own class's, momentum included
SAMPLE = 2048  # rows from which the largest curvature is estimated
FEWEST = 200  # batches of the shortest default run


def visit_order(labels: Tensor, shares: Tensor, *, visits: int, seed: int) -> Tensor:
    """The rows to visit, in order (visits,), int64.

    labels: (N,), rows labelled -1 are never visited. shares: (K,), the part of the visits that each class gets; a
    class without rows gets none.

    A class's visits go round its rows in a permutation cycle and are spread evenly over the run, each at a random
    place of its own stretch: with equal shares the classes themselves are a permutation cycle.
    """
    rng = np.random.default_rng(seed)
    target = labels.cpu().numpy()
    counts = np.bincount(target[target >= 0], minlength=len(shares))
    quota = _quotas(np.where(counts > 0, shares.cpu().double().numpy(), 0.0), visits)
    by_class = np.argsort(target, kind="stable")[np.count_nonzero(target < 0) :]
    ends, places = np.cumsum(counts), np.cumsum(quota)
    row, when = np.empty(visits, dtype=np.int64), np.empty(visits)
    for k in np.flatnonzero(quota):
        own, wanted, part = by_class[ends[k] - counts[k] : ends[k]], quota[k], slice(places[k] - quota[k], places[k])
        rounds = -(-wanted // counts[k])
        row[part] = rng.permuted(np.tile(own, (rounds, 1)), axis=1).ravel()[:wanted]
        when[part] = (np.arange(wanted) + rng.random(wanted)) / wanted
    del by_class
    return torch.from_numpy(row[np.argsort(when, kind="stable")])


def _quotas(shares: NDArray[np.float64], visits: int) -> NDArray[np.int64]:
    """Whole numbers (K,) that sum to the visits and are nearest to the shares (largest remainders)."""
    exact = shares / shares.sum() * visits
    quota: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    short = visits - int(quota.sum())
    quota[np.argsort(quota - exact, kind="stable")[:short]] += 1
    return quota


def descend(
    rows: Rows,
    shares: Tensor,
    loss: SoftmaxLoss,
    *,
    decay: float,
    visits: int | None,
    seed: int,
    start: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """A weight (K, D), a bias (K,) and what to record of the run.

    rows: training rows. shares: (K,), each class's part of the visits. decay: weight_decay. visits: rows visited;
    None: as many as there are labelled rows, but at least FEWEST batches. start: weight and bias to begin at, by
    default zeros.
    """
    total = visits or max(int(rows.counts.sum()), FEWEST * BATCH)
    order = visit_order(rows.whole, shares, visits=total, seed=seed)
    mean = rows.mean.float()
    rate, bias_rate = _rates(rows, mean, order, shares)
    run = _Run(rows, mean, loss.to(rows.device), decay)
    if start is not None:
        run.begin(*start)
    steps = max(1, total // BATCH)
    for step in range(steps):
        batch, now = order[step * total // steps : (step + 1) * total // steps], _cosine(step, steps)
        run.step(batch, rate * now, bias_rate * now)
    summary = {"recipe": "fast", "visits": total, "batch": BATCH, "seed": seed, "products": str(run.kind)[6:]}
    return run.weight, run.bias - run.weight @ mean, summary


def _cosine(step: int, steps: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def _rates(rows: Rows, mean: Tensor, order: Tensor, shares: Tensor) -> tuple[float, float]:
    """The learning rates of weight and bias: STEP logits a visit, but no more than the curvature bears.

    A visit moves the logit of its own class by rate * |x|^2 / BATCH, and momentum repeats that 1 / (1 - MOMENTUM)
    times. The curvature of softmax is at most half the largest variance of the features, and with many classes no
    class holds more of it than twice its share. A bias moves like the weight of a feature as long as all the others
    together.
    """
    picked = order[:SAMPLE]
    centred = take(rows.features, rows.mine(picked)).to(rows.device) - mean
    count, squares = torch.tensor(float(len(centred)), device=rows.device), centred.square().sum(dim=0)
    ranks.total(count, squares)
    length = float(squares.sum() / count)
    if not length > 0:
        return 0.0, 0.0  # all rows are the same: there is nothing to learn from them
    vector, largest = centred.T @ centred[:, squares.argmax()], 0.0
    ranks.total(vector)
    for _ in range(10):
        vector = centred.T @ (centred @ (vector / torch.linalg.vector_norm(vector)))
        ranks.total(vector)
        largest = float(torch.linalg.vector_norm(vector) / count)
    part = min(0.5, 2 * float(shares.max() / shares.sum()))
    rate = min(STEP * BATCH * (1 - MOMENTUM) / length, 1.0 / (part * largest))
    return rate, min(rate * length, 1.0 / part)


class _Run:
    """The state of a run: weight and bias on centred features, and their momentum."""

    def __init__(self, rows: Rows, mean: Tensor, loss: SoftmaxLoss, decay: float) -> None:
        self._rows, self._mean, self._loss = rows, mean, loss
        classes, width = rows.sums.shape
        self.kind = product_type(rows.device)
        self.weight = torch.zeros((classes, width), device=rows.device)
        self.bias = torch.zeros(classes, device=rows.device)
        # Fused: decay, momentum and step in one walk over the weights, which are large with many classes.
        groups: list[dict[str, Any]] = [{"params": [self.weight], "weight_decay": decay}, {"params": [self.bias]}]
        self._optimiser = torch.optim.SGD(groups, lr=0.0, momentum=MOMENTUM, fused=True)

    def begin(self, weight: Tensor, bias: Tensor) -> None:
        """Start from a weight and a bias of the features as they are."""
        self.weight.copy_(weight)
        self.bias.copy_(bias + weight @ self._mean)

    def step(self, batch: Tensor, rate: float, bias_rate: float) -> None:
        """One step on a batch of row numbers."""
        mine = self._rows.mine(batch)
        x = take(self._rows.features, mine).to(self._rows.device).sub_(self._mean).to(self.kind)
        logits = (x @ self.weight.to(self.kind).T).float().add_(self.bias)
        labels = self._rows.labels[mine.to(self._rows.device)]
        _, g = self._loss(logits, labels, self.weight.new_full((len(mine),), 1 / len(batch)))
        self.weight.grad, self.bias.grad = (g.to(self.kind).T @ x).float(), g.sum(dim=0)
        ranks.total(self.weight.grad, self.bias.grad)
        for group, now in zip(self._optimiser.param_groups, (rate, bias_rate), strict=True):
            group["lr"] = now
        self._optimiser.step()
