"""Several heads on the same features as one: their average, given weights, or the best point between two of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead, NormalizedHead
from rebalance.rows import need_rows
from rebalance.search.intervals import exact_logits, row_intervals
from rebalance.search.judging import METRICS, Judge, Metric
from rebalance.search.path import Floats, Interval, Sweep, correct_intervals
from rebalance.search.selection import Select, choose
from rebalance.search.tuned import Tuned, notes_on, tuning_record

BETWEEN: Interval = (0.0, 1.0)


def ensemble(
    heads: Sequence[LinearHead],
    features: Features,
    labels: Labels,
    *,
    weights: Sequence[float] | Literal["search"] | None = None,
    metric: Metric = "balanced",
    select: Select = "1se",
    seed: int = 0,
) -> LinearHead:
    """One head whose logits are a weighted sum of those of several: no more work to use than one of them.

    heads: two or more of one type, linear or normalised with one centre, of equal K and D.
    features, labels: (N, D) and (N,), the held-out rows that a search judges by; not used otherwise.
    weights: None, all equal (the average); one finite number a head, used as they are; or "search", for two heads a
    and b: 1 - t and t with the t in 0..1 that `features` and `labels` choose, exactly, as `tune` does.
    metric, select, seed: of the search, as for `tune`. The record then holds what was found under "tuned".
    ValueError when the heads cannot be one (a gated head's logits are no sum), or the weights or rows do not fit.
    A sum of affine maps of the same features is affine, so it is one weight and one bias. The logits of heads of
    different methods differ in size; a search weighs that in, an average does not.
    """
    here = _one_kind(heads)
    judged = {}
    if isinstance(weights, str):
        if weights != "search" or len(here) != 2:
            raise ValueError(f"weights is {weights!r} for {len(here)} heads; expected numbers, or search for two heads")
        tuned, judge = _search(here[0], here[1], features, labels, metric, select, seed)
        judged = {"tuned": tuning_record(tuned, judge)}
        shares = [1 - tuned.parameters["t"], tuned.parameters["t"]]
    else:
        shares = [1 / len(here)] * len(here) if weights is None else [float(each) for each in weights]
        if len(shares) != len(here) or not all(map(math.isfinite, shares)):
            raise ValueError(f"weights are {shares} for {len(here)} heads; expected one finite number a head")
    record = {"method": "ensemble", "weights": shares, "heads": [dict(head.record) for head in here]}
    return replace(_sum(here, shares), record={**record, **judged})


def _one_kind(heads: Sequence[LinearHead]) -> list[LinearHead]:
    """The heads on one device; ValueError unless a weighted sum of them is a head of their type."""
    if len(heads) < 2:
        raise ValueError(f"an ensemble of {len(heads)} heads; expected two or more")
    first = heads[0]
    here = [head.to(first.weight.device) for head in heads]
    kinds = {type(head) for head in here}
    if len(kinds) > 1 or not kinds <= {LinearHead, NormalizedHead}:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(f"an ensemble of {names}: no one head computes their sum; average their logits instead")
    shapes = {tuple(head.weight.shape) for head in here}
    if len(shapes) > 1:
        raise ValueError(f"heads of shapes {', '.join(map(str, sorted(shapes)))}; expected heads of one (K, D)")
    centers = [head.center for head in here if isinstance(head, NormalizedHead)]
    if any(not torch.equal(center, centers[0]) for center in centers):
        raise ValueError("normalised heads of different centres: no one head computes their sum; expected one centre")
    return here


def _sum(heads: Sequence[LinearHead], shares: Sequence[float]) -> LinearHead:
    """The head whose logits are the weighted sum, with the first one's record."""
    weight = torch.stack([share * head.weight.double() for share, head in zip(shares, heads, strict=True)]).sum(dim=0)
    bias = torch.stack([share * head.bias.double() for share, head in zip(shares, heads, strict=True)]).sum(dim=0)
    return replace(heads[0], weight=weight.float(), bias=bias.float())


def _search(
    one: LinearHead,
    other: LinearHead,
    features: Features,
    labels: Labels,
    metric: Metric,
    select: Select,
    seed: int,
) -> tuple[Tuned, Judge]:
    """What the exact search between two heads found, and the rows that it was judged by."""
    if metric not in METRICS:
        raise ValueError(f"no metric {metric!r}; there are {', '.join(METRICS)}")
    judge = Judge(features, need_rows(one, features, labels).whole, metric, select, seed)
    sweep = Sweep.of(*between_intervals(one, other, features, judge.labels))
    choice = choose(sweep, judge.weights, select=select, search=BETWEEN, limits=BETWEEN, labels=judge.truth, seed=seed)
    t = choice.value
    tuned = Tuned(
        _sum([one, other], [1 - t, t]),
        {"t": t},
        value=float(choice.curve(t)),
        highest=float(choice.curve.values.max()),
        before=None,
        curve=choice.curve,
        intervals=choice.intervals,
        interval=choice.interval,
        exact=True,
        notes=notes_on(judge),
    )
    return tuned, judge


def between_intervals(one: LinearHead, other: LinearHead, features: Features, labels: Tensor) -> tuple[Floats, Floats]:
    """For each row the open interval (lo, hi) of t on which (1 - t) * one + t * other is right; lo >= hi where never.

    one, other: heads of the same K and D. features: (N, D). labels: (N,), 0..K-1, or -1 (never right).
    """
    both = zip(exact_logits(one, features), exact_logits(other, features), strict=True)
    return row_intervals(((part, torch.cat([z, end], dim=1)) for (part, z), (_, end) in both), labels, _between)


def _between(ends: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Intervals of a block, from its logits (B, 2K) under both heads: here every row has slopes (K,) of its own."""
    start, end = ends.tensor_split(2, dim=1)
    return correct_intervals(start, end - start, labels)
