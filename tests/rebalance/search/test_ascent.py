"""Coordinate ascent: every step is the best there is, none lowers the metric, and the two best classes stay known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebalance.search.ascent import BestTwo, ascend, best_offset, predict
from rebalance.search.confusion import count_metric

SEEDS = st.integers(0, 2**32 - 1)
COSTS = np.random.default_rng(4).uniform(0, 3, (5, 5)) * (1 - np.eye(5))
every_metric = pytest.mark.parametrize(
    "metric", ["balanced", "top1", "macro_f1", COSTS], ids=["balanced", "top1", "macro_f1", "cost"]
)


def drawn(seed: int, rows: int = 60, classes: int = 5) -> tuple[Any, Any]:
    """Logits (K, N) that know something of the labels and favour the first classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    logits = rng.normal(size=(classes, rows)) - np.arange(classes)[:, None] / 2
    logits[labels, np.arange(rows)] += 1.5
    return logits.astype(np.float32), labels


def brute_best_two(logits: Any, offsets: Any) -> tuple[Any, Any]:
    order = np.argsort(-(logits.astype(np.float64) + offsets[:, None]), axis=0, kind="stable")
    return order[0], order[1]


@given(SEEDS, st.booleans())
def test_the_two_best_classes_stay_known(seed: int, whole: bool) -> None:
    """Whole numbers tie all the time: then the lower class id is the better one."""
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 6))
    logits = rng.normal(size=(classes, 20)).astype(np.float32)
    logits = logits.round() if whole else logits
    state = BestTwo(logits, rng.integers(-1, 2, classes).astype(np.float64))
    for _ in range(12):
        moved = int(rng.integers(classes))
        state.move(moved, float(rng.integers(-2, 3) if whole else rng.normal()))
        best, second = brute_best_two(logits, state.offsets)
        np.testing.assert_array_equal(state.best, best)
        np.testing.assert_array_equal(state.best, predict(logits, state.offsets))
        raised = int(rng.integers(classes))
        others, high = state.others(raised)
        np.testing.assert_array_equal(others, np.where(best == raised, second, best))
        np.testing.assert_array_equal(high, logits[others, np.arange(20)] + state.offsets[others])


@every_metric
@pytest.mark.parametrize("seed", range(4))
def test_a_step_is_the_best_of_thousands_of_offsets(metric: Any, seed: int) -> None:
    logits, labels = drawn(seed)
    rng = np.random.default_rng(seed)
    offsets = rng.normal(size=5)
    state, scored = BestTwo(logits, offsets), count_metric(metric, labels, 5)
    for raised in range(5):
        tried = [*np.linspace(-8, 8, 2000), -1e3, 1e3]
        values = [scored.value(predict(logits, np.where(np.arange(5) == raised, t, offsets))) for t in tried]
        offset, value = best_offset(state, scored, raised, 0.0, 1e-6)
        assert value >= max(values) - 1e-12
        assert value == pytest.approx(
            scored.value(predict(logits, np.where(np.arange(5) == raised, offset, offsets))), abs=1e-12
        )


def test_of_equally_good_stretches_the_nearest_to_the_target_is_taken() -> None:
    # Class 1 is right about the first row, wrong about the second, and right about the third, in this order.
    logits = np.array([[0.0, 0.0, 0.0], [-1.0, -2.0, -3.0]], np.float32)
    labels = np.array([1, 0, 1])
    state, scored = BestTwo(logits, np.zeros(2)), count_metric("top1", labels, 2)
    assert [best_offset(state, scored, 1, target, 1e-6)[0] for target in (0.0, 1.9, 2.2, 3.2, 9.0)] == [
        1.5,  # the middle of a narrow stretch
        1.5,
        1.5,
        3.5,  # in a wide one half a unit from its end
        9.0,  # or the target itself
    ]


def test_stretches_that_float32_cannot_tell_apart_are_passed_over() -> None:
    logits = np.array([[0.0, 0.0, 0.0], [-1.0, -1.0000001, -3.0]], np.float32)
    assert logits[1, 0] != logits[1, 1]
    state, scored = BestTwo(logits, np.zeros(2)), count_metric("top1", np.array([1, 0, 0]), 2)
    assert best_offset(state, scored, 1, 0.0, 0.0)[1] == 1
    assert best_offset(state, scored, 1, 0.0, 1e-6)[1] == pytest.approx(2 / 3)


@every_metric
@given(seed=SEEDS)
def test_the_metric_never_falls_and_the_end_cannot_be_improved(metric: Any, seed: int) -> None:
    logits, labels = drawn(seed)
    scored = count_metric(metric, labels, 5)
    found = ascend(logits, np.arange(60), scored, np.zeros(5), np.arange(5), passes=50)
    assert found.converged
    assert (np.diff(found.values) > 0).all()
    assert found.values[0] == pytest.approx(scored.value(predict(logits, np.zeros(5))))
    assert found.values[-1] == pytest.approx(scored.value(predict(logits, found.offsets)), abs=1e-12)
    for raised in range(5):
        for t in np.linspace(-6, 6, 41):
            other = np.where(np.arange(5) == raised, t, found.offsets)
            assert scored.value(predict(logits, other)) <= found.values[-1] + 1e-12


@pytest.mark.parametrize("metric", ["balanced", "macro_f1", [[0.0, 1.0], [9.0, 0.0]]], ids=["b", "f1", "cost"])
@pytest.mark.parametrize("seed", range(5))
def test_two_classes_get_the_best_threshold(metric: Any, seed: int) -> None:
    logits, labels = drawn(seed, rows=40, classes=2)
    scored = count_metric(metric, labels, 2)
    gap = np.sort(logits[0].astype(np.float64) - logits[1])
    thresholds = [gap[0] - 1, *((gap[1:] + gap[:-1]) / 2), gap[-1] + 1]
    best = max(scored.value((logits[1] - logits[0].astype(np.float64) > -t).astype(np.int64)) for t in thresholds)
    found = ascend(logits, np.arange(40), scored, np.zeros(2), np.arange(2), passes=9)
    assert found.values[-1] == pytest.approx(best, abs=1e-12)


def test_only_the_given_rows_and_classes_count() -> None:
    logits, labels = drawn(3)
    rows = np.arange(0, 60, 2)
    scored = count_metric("balanced", labels[rows], 5)
    found = ascend(logits, rows, scored, np.full(5, 0.25), np.array([4, 2]), passes=9)
    alone = ascend(logits[:, rows].copy(), np.arange(30), scored, np.full(5, 0.25), np.array([4, 2]), passes=9)
    assert found.offsets.tolist() == alone.offsets.tolist()
    assert found.offsets[[0, 1, 3]].tolist() == [0.25] * 3
    assert found.values[-1] > found.values[0]


def test_it_gives_up_after_so_many_passes() -> None:
    logits, labels = drawn(0)
    found = ascend(logits, np.arange(60), count_metric("macro_f1", labels, 5), np.zeros(5), np.arange(5), passes=1)
    assert (found.passes, found.converged) == (1, False)


def test_blocks_of_rows_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = drawn(2)
    run = lambda: ascend(logits, np.arange(60), count_metric("top1", labels, 5), np.zeros(5), np.arange(5), passes=9)  # noqa: E731
    expected = run()
    monkeypatch.setattr("rebalance.search.ascent.COLUMNS", 5 * 7)
    assert run().offsets.tolist() == expected.offsets.tolist()
    assert predict(logits, np.zeros(5)).tolist() == logits.argmax(axis=0).tolist()
