"""A head whose hyperparameters are chosen on a split of a cache: what ``tune`` and ``compare`` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from featurecache import FeatureCache, Split
    from rebalance import LinearHead, Tuned

    from ..feeding import Feeding


@dataclass(frozen=True)
class Rule:
    """How one of several heads is chosen.

    on: the split whose rows judge, None for the usual one. folds: parts of the rows of the fit that judge in turn
    instead. metric: what is to be best. select: which of those that are as good as the best. allow_seen: also by rows
    that the backbone was trained on.
    """

    on: str | None
    folds: int | None
    metric: Any
    select: Any
    allow_seen: bool


def judging_split(cache: FeatureCache, rule: Rule, in_turn: str | None) -> Split:
    """The split to judge on; ValueError when it is not there or the backbone was trained on it.

    in_turn: the one whose rows are fitted on and judge in turn, if any; a usage error where the rule names another.
    """
    if in_turn and rule.on not in (None, in_turn):
        raise click.UsageError(f"--folds takes turns among the rows of {in_turn}; expected no --on beside it")
    on = rule.on or in_turn or "val"
    if on not in cache:
        raise ValueError(
            f"{cache.path}: no split {on!r} to judge on; there are: {', '.join(cache)}; name one with --on, "
            "or use fit, which chooses nothing"
        )
    split = cache[on]
    if split.seen and not rule.allow_seen:
        others = [name for name in cache if name != on and not cache.plan.splits[name].seen]
        raise ValueError(
            f"{on} cannot tune: the backbone was trained on these rows, on which its classifier looks perfect; "
            f"use --on {others[0] if others else 'a held-out split'}, or --allow-seen to do it all the same (rows it "
            "never saw are extracted with --seen none, or written with featurecache.write(…, seen=False))"
        )
    return split


def chosen_head(
    method: str,
    cache: FeatureCache,
    joint: LinearHead | None,
    judging: Split,
    rule: Rule,
    feeding: Feeding,
    *,
    grid: Mapping[str, Sequence[Any]],
    seed: int,
) -> Tuned:
    """What tuning a method found; the record of its head also says what it was fitted and tuned on.

    joint: the cache's own head, or None. judging: see `judging_split`. feeding: where the rows come from.
    grid: values by hyperparameter, one value fixes it. ValueError when a file is damaged, or the rows do not suit the
    method.
    """
    from rebalance import METHODS, tune

    from ..caches import check_last_classes, counts_keyword, provenance, verify

    fitted_on = METHODS[method].on
    rows = cache[fitted_on] if fitted_on else judging
    folds = rule.folds
    if folds and rows.views > 1:
        raise ValueError(
            f"--folds {folds}: {rows.name} holds {rows.views} views of every image, and no part may judge by another "
            "view of what was fitted; judge on a split of its own with --on"
        )
    verify(cache, {judging.name, rows.name})
    check_last_classes(cache, rows)
    tuned = tune(
        method,
        joint,
        *feeding.rows(rows),
        val=feeding.rows(judging) if fitted_on and not folds else None,
        grid=grid,
        metric=rule.metric,
        select=rule.select,
        folds=folds,
        seen=judging.seen if folds else None,
        allow_seen=rule.allow_seen,
        seed=seed,
        counts=counts_keyword(method, cache).get("counts"),
    )
    head = tuned.head.with_record(
        **provenance(cache),
        fitted_on=fitted_on,
        tuned_on=judging.name,
        tuned_on_seen=judging.seen is not False if folds else judging.seen is True,
    )
    return replace(tuned, head=head)


def doubts(tuned: Tuned, judging: Split, *, beside_joint: bool = False) -> list[str]:
    """Why a choice may be worth little, a sentence each: it beats nothing, ends its grid, or few rows judged it.

    beside_joint: whether the joint head's own value is shown beside it, so that it need not be said who is better.
    """
    import numpy as np

    found = []
    if not beside_joint and tuned.before is not None and tuned.value <= tuned.before:
        found.append(
            f"on {judging.name} this is no better than the joint head: its rows do not tell enough to choose; judge it "
            "on more of them before you use it"
        )
    if isinstance(tuned.curve, list) and (ends := _at_an_end(tuned.curve, tuned.highest)):
        found.append(
            f"the best {ends} lies at an end of its grid; values beyond it may be better still: tune with --grid"
        )
    found += [f"{text}: the choice is uncertain; more held-out rows would make it firmer" for text in tuned.notes]
    _, rows = np.unique(judging.labels[judging.labels >= 0], return_counts=True)
    single = int((rows == 1).sum())
    if single and not tuned.notes:
        found.append(
            f"{single} of {len(rows)} classes have a single row in {judging.name}: one image decides a whole class, so "
            "the choice is uncertain; more held-out rows would make it firmer"
        )
    return found


def _at_an_end(curve: list[dict[str, Any]], highest: float) -> str | None:
    """The number of which only the first or the last value tried reaches the best value, or None."""
    for name in curve[0].keys() - {"value", "standard_error"}:
        tried = sorted({point[name] for point in curve if isinstance(point[name], float)})
        best = {point[name] for point in curve if point["value"] >= highest}
        if len(tried) > 2 and best in ({tried[0]}, {tried[-1]}):
            return str(name)
    return None
