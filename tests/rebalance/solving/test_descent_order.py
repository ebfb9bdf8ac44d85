"""Which rows a descent visits, in which order: quotas, permutation cycles, evenly spread."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from rebalance.solving.descent import visit_order

some_labels = st.lists(st.integers(-1, 4), min_size=1, max_size=60).filter(lambda each: max(each) >= 0)
some_shares = st.lists(st.floats(0.05, 20), min_size=5, max_size=5)


@given(some_labels, some_shares, st.integers(1, 300), st.integers(0, 9))
def test_every_class_gets_its_quota(labels: list[int], shares: list[float], visits: int, seed: int) -> None:
    """Largest remainders: the floor of the exact share, and one more for those nearest to it."""
    target = torch.tensor(labels)
    order = visit_order(target, torch.tensor(shares, dtype=torch.float64), visits=visits, seed=seed)
    assert order.dtype == torch.int64
    assert len(order) == visits
    present = np.bincount(target[target >= 0], minlength=5) > 0
    exact = np.where(present, shares, 0) / np.array(shares)[present].sum() * visits
    quota = np.bincount(target[order], minlength=5)
    over = quota - np.floor(exact + 1e-9)
    assert set(over[present]) <= {0.0, 1.0}
    assert not quota[~present].any()
    rest = exact - np.floor(exact + 1e-9)
    if over[present].any() and not over[present].all():
        assert rest[present & (over == 1)].min() >= rest[present & (over == 0)].max() - 1e-9


@given(some_labels, some_shares, st.integers(1, 300), st.integers(0, 9))
def test_the_visits_of_a_class_are_a_permutation_cycle(
    labels: list[int], shares: list[float], visits: int, seed: int
) -> None:
    """Before a row comes again, all others of its class have come; unlabelled rows never come."""
    target = torch.tensor(labels)
    order = visit_order(target, torch.tensor(shares), visits=visits, seed=seed)
    assert bool((target[order] >= 0).all())
    for k in set(labels) - {-1}:
        rows = order[target[order] == k]
        members = set((target == k).nonzero()[:, 0].tolist())
        for round_ in rows.split(len(members)):
            assert set(round_.tolist()) <= members
            assert len(set(round_.tolist())) == len(round_)


@given(some_labels, some_shares, st.integers(20, 300), st.integers(0, 9))
def test_visits_are_spread_evenly(labels: list[int], shares: list[float], visits: int, seed: int) -> None:
    """Each visit lies in its own stretch of the run. At a time t class k has had t q_k of its visits, less than one
    more or less, and all C classes together less than C: so at any place, within 1 + q_k C / V of its share."""
    target = torch.tensor(labels)
    order = visit_order(target, torch.tensor(shares), visits=visits, seed=seed)
    classes = torch.tensor(sorted(set(labels) - {-1}))
    seen = np.cumsum((target[order][:, None] == classes).numpy(), axis=0)
    quota = seen[-1]
    expected = np.arange(1, visits + 1)[:, None] * quota / visits
    assert (np.abs(seen - expected) <= 1 + quota * len(classes) / visits).all()


@given(some_labels, st.integers(1, 40), st.integers(0, 9))
def test_equal_shares_visit_all_classes_in_turn(labels: list[int], turns: int, seed: int) -> None:
    target = torch.tensor(labels)
    classes = len(set(labels) - {-1})
    order = visit_order(target, torch.ones(5), visits=turns * classes, seed=seed)
    for turn in target[order].split(classes):
        assert len(set(turn.tolist())) == classes


def test_a_class_of_no_share_is_not_visited() -> None:
    target = torch.tensor([0, 1, 2, 0])
    order = visit_order(target, torch.tensor([1.0, 0.0, 1.0]), visits=50, seed=0)
    assert set(order.tolist()) == {0, 2, 3}


def test_the_seed_decides_the_order() -> None:
    target = torch.arange(200) % 7
    first, again, other = (visit_order(target, torch.ones(7), visits=500, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.manual_seed(5)
    assert torch.equal(visit_order(target, torch.ones(7), visits=500, seed=3), first)


def test_many_classes_and_visits_are_ordered_at_once() -> None:
    target = torch.arange(30_000) % 10_000
    order = visit_order(target, torch.ones(10_000), visits=100_000, seed=0)
    assert bool((torch.bincount(target[order]) == 10).all())
