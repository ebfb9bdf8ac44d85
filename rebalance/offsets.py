"""One additive offset a class, for any metric that follows from the counts of labels and predictions.

    z_k + o_k,      o_k = -tau log pi_k + (1 - shrinkage) (a_k + tau log pi_k)

a is where exact coordinate ascent ends. It has as many parameters as there are classes, and a rare class has a handful
of rows to choose its own by; so what it adds to the prior family is shrunk, by as much as held-out rows demand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from rebalance.blocks import Features, Labels, as_labels, blocks, refuse_nonfinite
from rebalance.classes import class_counts
from rebalance.head import LinearHead
from rebalance.methods.logit_adjust import shifted
from rebalance.methods.needs import lineage, need_head
from rebalance.prior import log_prior, training_counts
from rebalance.search.ascent import Ascent, Logits, ascend, predict
from rebalance.search.confusion import Ids, count_metric, gain_errors
from rebalance.search.folds import stratified_folds
from rebalance.search.path import SAME, Floats
from rebalance.search.prior_family import PriorFamily

MOST = 2**28  # logits that are kept, 1 GiB of float32; a fold takes a copy of its share
SHRINKAGES = tuple(step / 8 for step in range(9))


@dataclass(frozen=True)
class Offsets:
    """What `offsets` found.

    head: the head with the offsets in it. offsets: (K,) float64. tau, shrinkage: of the formula above.
    value: the metric on the rows given, which chose the offsets: it flatters. held_out: the metric of this shrinkage
    on the same rows when each was judged by offsets found without it; None where the shrinkage was given.
    curve: shrinkage, value and standard error (of the difference to the best) of every shrinkage tried, held out.
    passes: how often the ascent visited every class. converged: whether it came to its end.
    """

    head: LinearHead
    offsets: Floats
    tau: float
    shrinkage: float
    value: float
    held_out: float | None
    curve: list[dict[str, float]]
    passes: int
    converged: bool


def offsets(
    head: LinearHead,
    features: Features,
    labels: Labels,
    *,
    counts: ArrayLike,
    metric: str | ArrayLike = "balanced",
    shrinkage: float | None = None,
    folds: int = 5,
    passes: int = 10,
    seed: int = 0,
) -> Offsets:
    """The offsets of the classes that are best for a metric, shrunk towards those of logit adjustment.

    head: of any type; the offsets are added to its logits. features, labels: (N, D) and (N,), held-out
    rows: not those the backbone was trained on. N x K is at most 2^28; their logits are kept in float32.
    counts: (K,) training rows a class, the prior.
    metric: "balanced", "top1", "macro_f1" or a cost matrix (K, K) by label and prediction, the mean of which is to be
    small (`value` is minus it).
    shrinkage: 0 (all offsets free) to 1 (logit adjustment with the best tau); None chooses the largest whose value,
    held out, is within one standard error of the best.
    folds, seed: stratified parts of the rows, each judged by offsets found on the others.
    passes: the ascent visits every class at most so often.
    ValueError when the arguments do not fit, or there are more logits than can be kept.

    A step of the ascent is exact, none lowers the metric, and it ends where no single offset can be changed for the
    better; that need not be the best of all offsets. A class without rows keeps its prior offset: any metric would
    have it never predicted. Rare classes go first.
    Source: the prior family is that of Menon et al. (ICLR 2021), section 4.1; the ascent is ours.
    """
    head = need_head(head, "offsets")
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage is {shrinkage}; expected 0 to 1, or None to have it chosen")
    if passes < 1:
        raise ValueError(f"passes is {passes}; expected 1 or more")
    if counts is None:
        raise ValueError(
            "offsets need the training rows a class, and the rows given are not those; expected counts=(K,)"
        )
    logits, truth = _labelled_logits(head, features, labels)
    search = _Search(logits, truth, training_counts(counts, labels, head.num_classes).numpy(), metric, passes)
    held_out, curve = None, list[dict[str, float]]()
    if shrinkage is None:
        shrinkage, held_out, curve = search.cross_validate(stratified_folds(truth, folds, seed=seed))
    found = search.fit(np.arange(len(truth)))
    chosen = found.shrunk(shrinkage)
    tuned: dict[str, Any] = {"metric": metric if isinstance(metric, str) else "cost matrix", "rows": len(truth)}
    if held_out is not None:
        tuned |= {"value": held_out, "select": "1se", "folds": folds, "seed": seed}
    hyperparameters = {"tau": found.tau, "shrinkage": float(shrinkage)}
    record = {"method": "offsets", "hyperparameters": hyperparameters, "tuned": tuned}
    return Offsets(
        replace(shifted(head, torch.from_numpy(chosen)), record={**lineage(head), **record}),
        chosen,
        found.tau,
        shrinkage,
        value=count_metric(metric, truth, len(chosen)).value(predict(logits, chosen)),
        held_out=held_out,
        curve=curve,
        passes=found.ascent.passes,
        converged=found.ascent.converged,
    )


@dataclass(frozen=True)
class _Fit:
    """What one set of rows says: tau, its offsets (K,), and where the ascent from there ended."""

    tau: float
    prior: Floats
    ascent: Ascent

    def shrunk(self, shrinkage: float) -> Floats:
        """The offsets (K,) with a part of their way from the prior family taken back."""
        return np.asarray(self.prior + (1 - shrinkage) * (self.ascent.offsets - self.prior))


class _Search:
    """The search on any subset of labelled rows; logits: (K, N), labels: (N,), counts: (K,)."""

    def __init__(self, logits: Logits, labels: Ids, counts: Floats, metric: str | ArrayLike, passes: int) -> None:
        self._logits, self._labels, self._metric, self._passes = logits, labels, metric, passes
        self._log_prior = log_prior(torch.from_numpy(counts)).numpy()
        self._family = PriorFamily(logits, labels, self._log_prior, metric)
        # The rarest first. Equal ones by their mean logit: the ids of the classes must not decide.
        self._order = np.lexsort((logits.mean(axis=1), counts))

    def fit(self, rows: Ids) -> _Fit:
        """The prior family and the ascent on these rows."""
        classes = len(self._order)
        tau = self._family.tau(rows)
        prior = -tau * self._log_prior
        present = np.bincount(self._labels[rows], minlength=classes) > 0
        order = self._order[present[self._order]] if classes > 1 else self._order[:0]
        metric = count_metric(self._metric, self._labels[rows], classes)
        return _Fit(tau, prior, ascend(self._logits, rows, metric, prior, order, passes=self._passes))

    def cross_validate(self, fold: Ids) -> tuple[float, float, list[dict[str, float]]]:
        """The shrinkage that is chosen, its held-out value, and the curve; fold: (N,) the part of each row."""
        guesses = np.empty((len(SHRINKAGES), len(fold)), np.int64)
        for part in range(fold.max() + 1):
            found = self.fit(np.flatnonzero(fold != part))
            judged = self._logits[:, fold == part]
            for place, shrinkage in enumerate(SHRINKAGES):
                guesses[place, fold == part] = predict(judged, found.shrunk(shrinkage))
        metric = count_metric(self._metric, self._labels, len(self._order))
        values = np.array([metric.value(each) for each in guesses])
        top = int(np.flatnonzero(values >= values.max() - SAME)[-1])
        errors = gain_errors(np.stack([metric.gains(each) for each in guesses]), top)
        chosen = int(np.flatnonzero(values[top] - values <= errors + SAME)[-1])
        curve = [
            {"shrinkage": shrinkage, "value": float(value), "standard_error": float(error)}
            for shrinkage, value, error in zip(SHRINKAGES, values, errors, strict=True)
        ]
        return SHRINKAGES[chosen], float(values[chosen]), curve


def _labelled_logits(head: LinearHead, features: Features, labels: Labels) -> tuple[Logits, Ids]:
    """Logits (K, N) and labels (N,) of the labelled rows."""
    target = as_labels(labels)
    if len(target) != len(features):
        raise ValueError(f"{len(target)} labels for {len(features)} rows of features; expected one a row")
    class_counts(target, head.num_classes)
    known = target.cpu() >= 0
    rows = int(known.sum())
    if not rows:
        raise ValueError("no row has a label; expected labelled rows to find the offsets on")
    if rows * head.num_classes > MOST:
        raise ValueError(
            f"{rows} rows x {head.num_classes} classes are {rows * head.num_classes} logits, more than the {MOST} that "
            f"are kept in memory; give at most {MOST // head.num_classes} rows"
        )
    logits = np.empty((head.num_classes, rows), np.float32)
    done = 0
    for part, block in blocks(features, device=head.weight.device):
        some = head(block).T.cpu()[:, known[part]]
        logits[:, done : done + some.shape[1]] = some.numpy()
        done += some.shape[1]
    if not np.isfinite(logits).all():
        refuse_nonfinite(features)
    return logits, target.cpu().numpy()[known.numpy()]
