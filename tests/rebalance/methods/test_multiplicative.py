"""Multiplicative adjustment: its formula, its invariances, and the exact search against explicit powers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rebalance import LinearHead, NormalizedHead, tune
from rebalance.methods import logit_adjust, multiplicative
from rebalance.methods.multiplicative import gamma_intervals, gamma_limits

NO_ROWS = torch.zeros(0, 2), torch.empty(0, dtype=torch.int64)
CENTERS = pytest.mark.parametrize("center", [True, False])


def multiply(head: LinearHead, **keywords: Any) -> LinearHead:
    return multiplicative(head, *NO_ROWS, **keywords)


@CENTERS
@given(st.floats(-1, 2), st.floats(-1, 2))
def test_the_formula(center: bool, gamma: float, tau: float) -> None:
    generator = torch.Generator().manual_seed(0)
    head = LinearHead(torch.randn(4, 3, generator=generator), torch.randn(4, generator=generator))
    rows, counts = torch.randn(9, 3, generator=generator), np.array([40.0, 10.0, 1.0, 0.5])
    z = head(rows).double().numpy()
    if center:
        z -= z.mean(axis=1, keepdims=True)
    expected = z * (counts / 40) ** -gamma - tau * np.log(counts / 40)
    found = multiply(head, gamma=gamma, tau=tau, center=center, counts=[40, 10, 1, 0])(rows).numpy()
    # float32 logits times factors of up to 80 ** 2.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6 * max(1.0, 80**gamma) * 10)


def test_decisions_are_those_of_powers_of_the_prior(problem: Any) -> None:
    prior = problem.counts / problem.counts.sum()
    found = multiplicative(problem.head, problem.features, problem.labels, gamma=0.65, center=False)
    expected = problem.head(problem.features) * prior**-0.65
    assert torch.equal(found(problem.features).argmax(1), expected.argmax(1))


def test_gamma_0_decides_as_the_head_and_with_tau_as_logit_adjustment(problem: Any) -> None:
    data = problem.head, problem.features, problem.labels
    kept = multiplicative(*data, gamma=0.0, center=False)
    assert torch.equal(kept(problem.features), problem.head(problem.features))
    centred = multiplicative(*data, gamma=0.0)(problem.features)
    assert float(centred.mean(1).abs().max()) < 1e-5  # of logits of size 10 in float32
    assert torch.equal(centred.argmax(1), problem.head(problem.features).argmax(1))
    moved = multiplicative(*data, gamma=0.0, tau=0.8, center=False)
    torch.testing.assert_close(moved.bias, logit_adjust(*data, tau=0.8).bias)


@pytest.mark.parametrize("gamma", [0.3, 1.0])
def test_centred_a_shift_of_all_logits_changes_nothing(gamma: float, problem: Any) -> None:
    common = torch.linspace(-2, 3, 8)
    other = LinearHead(problem.head.weight + common, problem.head.bias + 5)
    one = multiplicative(problem.head, problem.features, problem.labels, gamma=gamma)(problem.features)
    two = multiplicative(other, problem.features, problem.labels, gamma=gamma)(problem.features)
    # Logits of size 10 in float32, times factors of up to 20.
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-3)
    raw = multiplicative(other, problem.features, problem.labels, gamma=gamma, center=False)(problem.features)
    assert not torch.equal(raw.argmax(1), one.argmax(1))


def test_a_larger_gamma_moves_rows_to_rare_classes(problem: Any) -> None:
    rows = problem.head, problem.features, problem.labels
    moved = [multiplicative(*rows, gamma=gamma)(problem.features).argmax(1) for gamma in (0.0, 0.2, 0.4, 0.8)]
    rare = [int((guesses >= 3).sum()) for guesses in moved]
    assert rare == sorted(rare)
    assert rare[-1] > rare[0]


def test_the_record_says_what_was_done_to_which_head(problem: Any) -> None:
    out = multiplicative(problem.head, problem.features, problem.labels, gamma=0.5, tau=1)
    assert out.record == {
        "source": "test",
        "method": "multiplicative",
        "hyperparameters": {"gamma": 0.5, "tau": 1.0, "center": True},
    }


def test_other_heads_are_refused(refuses: Any) -> None:
    with refuses("multiplicative", "NormalizedHead"):
        multiply(NormalizedHead(torch.eye(2)), counts=[2, 1])


@pytest.mark.parametrize(
    ("name", "value"), [("gamma", math.nan), ("gamma", math.inf), ("tau", math.nan), ("gamma", 1e3), ("center", 1)]
)
def test_values_out_of_range_are_refused_by_name(name: str, value: Any, refuses: Any) -> None:
    with refuses(name):
        multiply(LinearHead(torch.eye(2)), counts=[1000, 1], **{name: value})


def assert_intervals_are_brute_force(
    logits: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], counts: np.ndarray[Any, Any], center: bool
) -> None:
    classes = logits.shape[1]
    head = LinearHead(torch.eye(classes))
    lo, hi = gamma_intervals(head, logits, torch.from_numpy(labels), center=center, counts=counts)
    # The head's own float32 weight, so that a mean of thirds is the same number here.
    weight = multiply(head, gamma=0.0, center=center, counts=counts).weight.double().numpy()
    z = logits.astype(np.float64) @ weight.T
    rows = np.where(counts > 0, counts, 0.5)
    ends = np.unique(np.concatenate([lo, hi]))
    ends = ends[np.isfinite(ends)]
    t = np.concatenate([np.random.default_rng(0).uniform(-4, 4, 500), (ends[1:] + ends[:-1]) / 2])
    # Next to a breakpoint two scores are equal up to rounding; within 40 of zero the powers do not overflow.
    t = t[(np.abs(t[:, None] - ends).min(axis=1, initial=math.inf) > 1e-7) & (np.abs(t) < 40)]
    scores = z[None] * (rows / rows.max()) ** -t[:, None, None]
    np.testing.assert_array_equal((lo < t[:, None]) & (t[:, None] < hi), scores.argmax(axis=2) == labels)


@st.composite
def problems(draw: st.DrawFn) -> Any:
    """Logits of small integers and counts that are powers of four, often equal: zeros and ties are real."""
    rows, classes = draw(st.integers(1, 10)), draw(st.sampled_from([1, 2, 4]))
    logits = draw(arrays(np.float32, (rows, classes), elements=st.integers(-3, 3).map(float)))
    counts = draw(arrays(np.int64, classes, elements=st.sampled_from([1, 4, 16])))
    return logits, draw(arrays(np.int64, rows, elements=st.integers(0, classes - 1))), counts


@CENTERS
@given(problems())
def test_intervals_with_ties_are_those_of_explicit_powers(center: bool, drawn: Any) -> None:
    assert_intervals_are_brute_force(*drawn, center)


@CENTERS
@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.sampled_from([-1.5, 0.0, 1.5]))
def test_intervals_of_random_logits_are_those_of_explicit_powers(
    center: bool, seed: int, classes: int, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(20, classes)) + shift).astype(np.float32)
    assert_intervals_are_brute_force(logits, rng.integers(0, classes, 20), rng.integers(0, 500, classes) + 1, center)


def test_the_exact_search_finds_what_no_gamma_beats(problem: Any) -> None:
    rows = problem.val_features, problem.val_labels
    best = tune("multiplicative", problem.head, *rows, counts=problem.counts, select="best")
    reached = []
    for gamma in [best.gamma, *np.linspace(-1, 3, 201)]:
        guesses = multiply(problem.head, gamma=gamma, counts=problem.counts)(problem.val_features).argmax(1)
        reached.append(float((guesses == problem.val_labels).double().mean()))  # twelve rows a class
    assert best.exact
    assert math.isclose(reached[0], best.value, abs_tol=1e-12)
    assert best.value >= max(reached[1:]) - 1e-12


def test_with_tau_gamma_has_no_intervals_and_takes_a_grid(problem: Any, refuses: Any) -> None:
    rows = problem.val_features, problem.val_labels
    with refuses("tau 0.5", "several intervals", "--grid gamma=0:1:0.1"):
        tune("multiplicative", problem.head, *rows, counts=problem.counts, grid={"tau": [0.5]})
    best = tune(
        "multiplicative", problem.head, *rows, counts=problem.counts, grid={"tau": [0.0, 0.5], "gamma": [0.0, 0.3]}
    )
    assert not best.exact
    assert len(best.curve) == 4


@pytest.mark.parametrize("counts", [(1, 10**6), (500_000, 1, 0), (3, 2)])
def test_inside_the_limits_a_head_can_be_made(counts: tuple[int, ...]) -> None:
    head = LinearHead(torch.eye(len(counts)) * 1e3, torch.ones(len(counts)))
    low, high = gamma_limits(head, counts=counts)
    assert low < -1
    assert high > 1
    for gamma in (low, high):
        assert bool(torch.isfinite(multiply(head, gamma=gamma, counts=counts).weight).all())


def test_equal_counts_have_no_limits() -> None:
    assert gamma_limits(LinearHead(torch.eye(3)), counts=[7, 7, 7]) == (-math.inf, math.inf)
