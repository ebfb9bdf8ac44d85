"""Every figure against a loop over rows and classes, under any prior; and what must not change it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rebalance import Report, Shots, evaluate
from rebalance.metrics import FIGURES

CASES = st.tuples(st.integers(1, 40), st.integers(2, 9), st.integers(0, 2**32 - 1))
SEVERAL = settings(max_examples=50)


def same_figures(report: Report, expected: dict[str, float | None], *, tolerance: float = 1e-9) -> None:
    """What is a mean of at most some hundred float64 numbers differs by rounding only."""
    found = report.figures()
    assert list(found) == list(expected) == list(FIGURES)
    for name, value in expected.items():
        wanted = None if value is None else pytest.approx(value, rel=tolerance, abs=tolerance)
        assert found[name] == wanted, name


def in_order(figures: dict[str, float | None]) -> dict[str, float | None]:
    return {name: figures[name] for name in FIGURES}


def prior_of(made: Any, kind: str, seed: int) -> Any:
    """A prior for the case: uniform, with shares of any sum, or with zeros but for one class that has rows."""
    if kind == "rows":
        return None
    if kind == "uniform":
        return np.ones(made.classes)
    keep = np.random.default_rng(seed).random(made.classes) < (0.5 if kind == "zeros" else 1)
    keep[made.labels[0]] = True
    return made.prior * keep


@SEVERAL
@given(CASES, st.sampled_from(["rows", "uniform", "shares", "zeros"]))
def test_every_figure_is_that_of_a_loop(
    case: Any, loops: Any, group_of: Any, shape: tuple[int, int, int], kind: str
) -> None:
    made = case(shape)
    prior = prior_of(made, kind, shape[2])
    report = evaluate(made.logits, made.labels, made.counts, target_prior=prior, costs=made.costs)
    loop = loops(made.logits, made.labels, prior, group_of(made.counts))
    same_figures(report, in_order(loop.figures(made.costs)))
    for k in range(made.classes):
        nowhere = (made.labels == k).sum() == 0
        for name in ("precision", "f1"):
            expected = math.nan if nowhere else getattr(loop, name)(k)
            assert getattr(report, name)[k] == pytest.approx(expected, nan_ok=True), name
        raw = math.nan if nowhere else np.mean([loop.guess[row] == k for row in np.flatnonzero(made.labels == k)])
        assert report.recall[k] == pytest.approx(raw, nan_ok=True)


@SEVERAL
@given(CASES, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(case: Any, shape: tuple[int, int, int], random: Any) -> None:
    made = case(shape)
    order = list(range(len(made.labels)))
    random.shuffle(order)
    given_ = {"counts": made.counts, "target_prior": made.prior, "costs": made.costs}
    report = evaluate(made.logits, made.labels, **given_)
    shuffled = evaluate(made.logits[order], made.labels[order], **given_)
    same_figures(shuffled, report.figures(), tolerance=1e-12)
    np.testing.assert_array_equal(shuffled.recall, report.recall)
    np.testing.assert_array_equal(shuffled.class_predictions, report.class_predictions)


@SEVERAL
@given(CASES)
def test_unlabelled_rows_are_left_out(case: Any, shape: tuple[int, int, int]) -> None:
    made = case(shape)
    noise = torch.randn(5, made.classes, generator=torch.Generator().manual_seed(shape[2]))
    more = torch.cat([noise[:2], made.logits, noise[2:]])
    padded = np.concatenate([[-1, -1], made.labels, [-1, -1, -1]])
    given_ = {"counts": made.counts, "target_prior": made.prior, "costs": made.costs, "replicates": 3}
    report, plain = evaluate(more, padded, **given_), evaluate(made.logits, made.labels, **given_)
    assert report.rows == len(made.labels)
    assert report.results.rows.tolist() == list(range(2, 2 + len(made.labels)))
    same_figures(report, plain.figures(), tolerance=1e-12)
    for name, drawn in plain.replicates.items():
        # The sums of small probabilities are taken in float32, in blocks of another length.
        np.testing.assert_allclose(report.replicates[name], drawn, atol=1e-6, err_msg=name)


@SEVERAL
@given(CASES, st.integers(0, 99))
def test_a_prior_is_as_good_as_repeated_rows(case: Any, shape: tuple[int, int, int], seed: int) -> None:
    made = case(shape)
    times = np.random.default_rng(seed).integers(0, 4, made.classes)
    times[made.labels[0]] += 1
    rows = np.repeat(np.arange(len(made.labels)), times[made.labels])
    repeated = evaluate(made.logits[rows], made.labels[rows], made.counts, costs=made.costs)
    prior = times * np.bincount(made.labels, minlength=made.classes)
    weighted = evaluate(made.logits, made.labels, made.counts, target_prior=prior, costs=made.costs)
    same_figures(weighted, repeated.figures())
    as_they_are = evaluate(made.logits, made.labels, made.counts, costs=made.costs)
    own = np.bincount(made.labels, minlength=made.classes)
    same_figures(
        evaluate(made.logits, made.labels, made.counts, target_prior=own, costs=made.costs), as_they_are.figures()
    )


@SEVERAL
@given(CASES)
def test_every_row_twice_changes_nothing(case: Any, shape: tuple[int, int, int]) -> None:
    made = case(shape)
    twice = np.repeat(np.arange(len(made.labels)), 2)
    report = evaluate(made.logits, made.labels, made.counts, costs=made.costs)
    same_figures(evaluate(made.logits[twice], made.labels[twice], made.counts, costs=made.costs), report.figures())


@SEVERAL
@given(CASES)
def test_a_uniform_prior_makes_top1_balanced(case: Any, shape: tuple[int, int, int]) -> None:
    made = case(shape)
    report = evaluate(made.logits, made.labels, target_prior=np.ones(made.classes))
    assert report.top1 == pytest.approx(report.balanced)
    assert report.weighted_f1 == pytest.approx(np.nanmean(report.f1))


@pytest.mark.parametrize("kind", ["rows", "shares"])
@SEVERAL
@given(CASES)
def test_a_perfect_head_is_perfect_in_everything(case: Any, kind: str, shape: tuple[int, int, int]) -> None:
    made = case(shape)
    logits = 1e4 * torch.eye(made.classes)[made.labels]
    prior = prior_of(made, kind, shape[2])
    report = evaluate(logits, made.labels, made.counts, target_prior=prior, costs=made.costs, replicates=5)
    for name, value in report.figures().items():
        perfect = 0.0 if name.startswith(("ece", "nll", "brier", "cost", "minimum")) else 1.0
        if value is None:
            assert name in ("top5", "many", "medium", "few") or name.endswith(("_many", "_medium", "_few")), name
        else:
            assert value == pytest.approx(perfect, abs=1e-12), name
            assert report.intervals[name] == pytest.approx((perfect, perfect), abs=1e-12), name
    # Nothing is rounded where every number is 0 or 1.
    assert (report.ece, report.ece_equal_mass, report.ece_classwise, report.nll, report.brier) == (0, 0, 0, 0, 0)


@SEVERAL
@given(CASES)
def test_a_class_without_rows_is_not_there(case: Any, shape: tuple[int, int, int]) -> None:
    """Another column that is never large moves the probabilities a little, and adds a class that nobody has."""
    made = case(shape)
    more = torch.cat([made.logits, torch.full((len(made.labels), 1), -1e4)], dim=1)
    report, wider = evaluate(made.logits, made.labels), evaluate(more, made.labels)
    assert np.isnan([wider.recall[-1], wider.precision[-1], wider.f1[-1], *wider.recall_interval[-1]]).all()
    assert (wider.class_rows[-1], wider.class_predictions[-1]) == (0, 0)
    expected = report.figures() | ({"top5": wider.top5} if made.classes == 5 else {})
    same_figures(wider, expected)
    assert wider.to_dict()["recall"][-1] is None


@SEVERAL
@given(CASES, st.integers(0, 99))
def test_classes_by_other_names_are_the_same_classes(case: Any, shape: tuple[int, int, int], seed: int) -> None:
    made = case(shape)
    new = np.random.default_rng(seed).permutation(made.classes)  # class k becomes new[k]
    old = np.argsort(new)
    report = evaluate(made.logits, made.labels, made.counts, target_prior=made.prior, costs=made.costs)
    renamed = evaluate(
        made.logits[:, old],
        new[made.labels],
        made.counts[old],
        target_prior=made.prior[old],
        costs=made.costs[np.ix_(old, old)],
    )
    same_figures(renamed, report.figures())
    for name in ("recall", "precision", "f1", "recall_interval", "class_rows", "class_predictions"):
        np.testing.assert_allclose(getattr(renamed, name), getattr(report, name)[old], atol=1e-12, err_msg=name)


@SEVERAL
@given(CASES)
def test_a_constant_a_row_changes_nothing(case: Any, shape: tuple[int, int, int]) -> None:
    made = case(shape)
    logits = (made.logits * 64).round() / 64  # exact, whatever whole number is added
    moved = logits + torch.randint(-50, 50, (len(logits), 1), generator=torch.Generator().manual_seed(shape[2]))
    expected = evaluate(logits, made.labels, made.counts, costs=made.costs).figures()
    same_figures(evaluate(moved, made.labels, made.counts, costs=made.costs), expected, tolerance=1e-12)


@SEVERAL
@given(CASES, st.booleans())
def test_figures_keep_their_order(case: Any, shape: tuple[int, int, int], weighted: bool) -> None:
    made = case(shape)
    report = evaluate(made.logits, made.labels, made.counts, target_prior=made.prior if weighted else None)
    close = 1 + 1e-12
    assert 0 <= report.worst <= report.harmonic * close
    assert report.harmonic <= report.geometric * close
    assert report.geometric <= report.balanced * close
    assert report.top1 <= (1 if report.top5 is None else report.top5 * close)
    assert 0 <= report.brier <= 2
    assert report.ece <= 1
    groups = [getattr(report, name) for name in ("many", "medium", "few")]
    assert min(g for g in groups if g is not None) <= report.balanced * close
    assert report.balanced <= max(g for g in groups if g is not None) * close


@SEVERAL
@given(CASES)
def test_groups_are_parts_of_the_whole(case: Any, shape: tuple[int, int, int]) -> None:
    made = case(shape)
    report = evaluate(made.logits, made.labels, made.counts, shots=Shots(19, 50, closed=True))
    assert (np.sum(list(report.groups.values()), axis=0) == 1).all()
    sizes = {name: int((mask & (report.class_rows > 0)).sum()) for name, mask in report.groups.items()}
    rows = {name: int(report.class_rows[mask].sum()) for name, mask in report.groups.items()}

    def mean(kind: str, size: dict[str, int]) -> float:
        parts = [(getattr(report, f"{kind}{name}"), size[name]) for name in size if size[name]]
        return math.fsum(value * count for value, count in parts) / sum(size.values())

    assert report.balanced == pytest.approx(mean("", sizes))
    assert report.ece_classwise == pytest.approx(mean("ece_classwise_", sizes))
    # Bins are finer when every group has its own: cancelling within a bin can only become less.
    assert report.ece <= mean("ece_", rows) + 1e-12
    for name, size in sizes.items():
        assert (getattr(report, name) is None) == (size == 0)
        assert (getattr(report, f"ece_equal_mass_{name}") is None) == (size == 0)


@SEVERAL
@given(CASES)
def test_the_decision_of_minimum_risk_costs_least_in_expectation(case: Any, shape: tuple[int, int, int]) -> None:
    made = case(shape)
    each = evaluate(made.logits, made.labels, costs=made.costs).results
    expected = torch.softmax(made.logits.double(), 1).numpy() @ made.costs
    rows = np.arange(len(each.rows))
    assert (expected[rows, each.minimum_risk] <= expected.min(axis=1) + 1e-12).all()
    assert (expected[rows, each.minimum_risk] <= expected[rows, each.predictions] + 1e-12).all()


@SEVERAL
@given(CASES)
def test_costs_of_any_mistake_alike_are_the_error(case: Any, shape: tuple[int, int, int]) -> None:
    made = case(shape)
    report = evaluate(made.logits, made.labels, costs=1 - np.eye(made.classes))
    assert report.cost == pytest.approx(1 - report.top1)
    assert report.minimum_risk_cost == pytest.approx(report.cost)
    assert report.results.minimum_risk.tolist() == report.results.predictions.tolist()
