"""Logit adjustment: its formula, Bayes' rule, and the exact search against explicit adjustment."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rebalance import GatedHead, LinearHead, NormalizedHead, tune
from rebalance.methods import logit_adjust
from rebalance.methods.logit_adjust import adjust_intervals, adjust_limits, shifted

NO_ROWS = torch.zeros(0, 2), torch.empty(0, dtype=torch.int64)


def adjust(head: LinearHead, **keywords: Any) -> LinearHead:
    return logit_adjust(head, *NO_ROWS, **keywords)


def log_shares(counts: Any) -> np.ndarray[Any, Any]:
    rows = np.where(np.asarray(counts) > 0, counts, 0.5)
    return np.asarray(np.log(rows / rows.sum()))


@given(st.floats(-2, 4), arrays(np.int64, 5, elements=st.integers(0, 1000)).filter(lambda counts: counts.any()))
def test_the_formula_up_to_one_number_for_all_classes(tau: float, counts: np.ndarray[Any, Any]) -> None:
    head = LinearHead(torch.eye(5, 2), torch.linspace(-2, 2, 5))
    target = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    out = adjust(head, tau=tau, target_prior=target, counts=counts)
    added = out.bias.double().numpy() - head.bias.double().numpy()
    expected = np.log(target / target.sum()) - tau * log_shares(counts)
    # Biases of up to 4 * log 2000 in float32.
    np.testing.assert_allclose(added - added[0], expected - expected[0], atol=1e-5)
    assert torch.equal(out.weight, head.weight)


def test_what_changes_nothing(problem: Any) -> None:
    for keywords in ({"tau": 0.0}, {"tau": 1.0, "target_prior": "train"}, {"tau": 0.0, "target_prior": [2.0] * 5}):
        out = logit_adjust(problem.head, problem.features, problem.labels, **keywords)
        assert torch.equal(out.bias, problem.head.bias)
    flat = adjust(problem.head, tau=1.7, counts=[9] * 5)
    assert torch.equal(flat.bias, problem.head.bias)


def test_it_is_bayes_rule_for_the_target_prior() -> None:
    """Classes N(mu_k, I): the head with log prior p is exactly right under p, so the adjusted one must be under q."""
    mu = torch.tensor([[0.0, 1.0], [2.0, 0.0], [-1.0, -1.0]])
    counts, q = torch.tensor([80.0, 15.0, 5.0]), torch.tensor([0.1, 0.2, 0.7])
    rows = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))

    def right(prior: torch.Tensor) -> LinearHead:
        return LinearHead(mu, prior.log() - mu.square().sum(1) / 2)

    adjusted = adjust(right(counts / 100), target_prior=q, counts=counts)
    # Both are float32 logits of size 5.
    torch.testing.assert_close(adjusted(rows).softmax(1), right(q)(rows).softmax(1), rtol=1e-4, atol=1e-6)


@given(st.floats(0, 3))
def test_probabilities_are_divided_by_a_power_of_the_prior(beta: float) -> None:
    """The posterior re-calibration p (p / prior)^beta, normalised, of Tian et al. with exponents 1 - beta and beta."""
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]])
    counts = np.array([50.0, 30.0, 20.0])
    p = logits.double().softmax(1).numpy()
    expected = p ** (1 - beta) * (p / (counts / 100)) ** beta
    expected /= expected.sum(axis=1, keepdims=True)
    found = adjust(LinearHead(torch.eye(3)), tau=beta, counts=counts)(logits).softmax(1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)  # float32 logits


def test_a_class_of_share_0_is_never_predicted(problem: Any) -> None:
    out = logit_adjust(problem.head, problem.features, problem.labels, target_prior=[0, 1, 1, 0, 1])
    logits = out(problem.features)
    assert set(logits.argmax(1).tolist()) == {1, 2, 4}
    assert bool((logits.softmax(1)[:, [0, 3]] == 0).all())
    again = logit_adjust(out, problem.features, problem.labels, tau=2.0, target_prior=[0, 1, 1, 0, 1])
    assert set(again(problem.features).argmax(1).tolist()) <= {1, 2, 4}


@pytest.mark.parametrize("kind", [LinearHead, NormalizedHead, GatedHead])
def test_every_type_of_head_is_shifted(kind: Any, problem: Any) -> None:
    head = kind(problem.head.weight, problem.head.bias, record={"source": "test"})
    if kind is GatedHead:
        scale, gate = torch.linspace(0.2, 3, 5), torch.linspace(-1, 1, 8)
        head = GatedHead(head.weight, head.bias, scale=scale, offset=scale.flip(0), gate=gate, record=head.record)
    offsets = torch.tensor([0.0, -2.0, 5.0, 0.25, -math.inf], dtype=torch.float64)
    before, after = head(problem.features), shifted(head, offsets)(problem.features)
    torch.testing.assert_close(after[:, :4], before[:, :4] + offsets[:4].float(), rtol=1e-5, atol=1e-4)
    assert bool((after[:, 4] < -1e29).all())
    out = logit_adjust(head, problem.features, problem.labels)
    assert type(out) is kind
    assert out.record == {
        "source": "test",
        "method": "logit_adjust",
        "hyperparameters": {"tau": 1.0, "target_prior": "uniform"},
    }


def test_the_record_holds_the_target_as_plain_numbers(problem: Any) -> None:
    shares = torch.tensor([1.0, 2.0, 0.0, 0.5, 1.0])
    out = logit_adjust(problem.head, problem.features, problem.labels, target_prior=shares)
    assert out.record["hyperparameters"]["target_prior"] == [1.0, 2.0, 0.0, 0.5, 1.0]


@pytest.mark.parametrize("tau", [math.nan, math.inf, -math.inf, 1e300])
def test_a_tau_that_is_no_number_or_too_large_is_refused(tau: float, refuses: Any) -> None:
    with refuses("tau"):
        adjust(LinearHead(torch.eye(2)), tau=tau, counts=[2, 1])


def test_many_classes() -> None:
    classes = 20_000
    head = LinearHead(torch.ones(classes, 2))
    out = adjust(head, counts=np.arange(classes))
    assert int(out.bias.argmax()) == 0  # the only class without a row
    assert float(out.bias[-1]) == 0.0


def assert_intervals_are_brute_force(
    logits: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], counts: np.ndarray[Any, Any], target: Any
) -> None:
    head = LinearHead(torch.eye(logits.shape[1]))
    lo, hi = adjust_intervals(head, logits, torch.from_numpy(labels), target_prior=target, counts=counts)
    with np.errstate(divide="ignore"):
        log_q = 0.0 if isinstance(target, str) else np.log(target / np.max(target))
    slopes = -log_shares(counts) + log_shares(counts).max()
    ends = np.unique(np.concatenate([lo, hi]))
    ends = ends[np.isfinite(ends)]
    outer = [ends[0] - 1, ends[-1] + 1] if len(ends) else []
    t = np.concatenate([np.random.default_rng(0).uniform(-5, 5, 500), (ends[1:] + ends[:-1]) / 2, outer])
    # Next to a breakpoint two scores are equal up to rounding.
    t = t[np.abs(t[:, None] - ends).min(axis=1, initial=math.inf) > 1e-7]
    scores = logits[None] + log_q + t[:, None, None] * slopes
    np.testing.assert_array_equal((lo < t[:, None]) & (t[:, None] < hi), scores.argmax(axis=2) == labels)


@st.composite
def problems(draw: st.DrawFn) -> Any:
    """Logits of small integers and often equal counts, so that ties are real; a target with zeros, or uniform."""
    rows, classes = draw(st.integers(1, 10)), draw(st.integers(1, 5))
    logits = draw(arrays(np.float32, (rows, classes), elements=st.integers(-3, 3).map(float)))
    counts = draw(arrays(np.int64, classes, elements=st.sampled_from([0, 1, 1, 10, 100]))) + (classes == 1)
    counts[0] = max(counts[0], 1)
    target: Any = draw(arrays(np.float64, classes, elements=st.sampled_from([0.0, 1.0, 1.0, 3.0])))
    labels = draw(arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    return logits, labels, counts, target if target.any() else "uniform"


@given(problems())
def test_intervals_with_ties_are_those_of_explicit_adjustment(drawn: Any) -> None:
    assert_intervals_are_brute_force(*drawn)


@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
def test_intervals_of_random_logits_are_those_of_explicit_adjustment(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(20, classes)).astype(np.float32), rng.integers(0, classes, 20)
    assert_intervals_are_brute_force(logits, labels, rng.integers(0, 500, classes) + 1, rng.uniform(size=classes))


def test_the_exact_search_finds_what_no_tau_beats(problem: Any) -> None:
    best = tune("logit_adjust", problem.head, problem.val_features, problem.val_labels,
                counts=problem.counts, select="best")  # fmt: skip
    taus = np.linspace(-2, 4, 301)
    reached = []
    for tau in [best.tau, *taus]:
        guesses = adjust(problem.head, tau=tau, counts=problem.counts)(problem.val_features).argmax(1)
        # Twelve rows a class: balanced accuracy is the share of right rows.
        reached.append(float((guesses == problem.val_labels).double().mean()))
    assert math.isclose(reached[0], best.value, abs_tol=1e-12)
    assert best.value >= max(reached[1:]) - 1e-12
    assert best.exact
    assert best.value > best.before  # the joint head favours frequent classes


def test_judging_rows_have_no_training_counts(problem: Any, refuses: Any) -> None:
    with refuses("logit_adjust", "counts="):
        tune("logit_adjust", problem.head, problem.val_features, problem.val_labels)


@pytest.mark.parametrize("counts", [(1, 10**6), (500_000, 1, 0), (3, 2)])
def test_inside_the_limits_float32_holds_the_logits(counts: tuple[int, ...]) -> None:
    head = LinearHead(torch.eye(len(counts)), torch.linspace(-1, 1, len(counts)))
    low, high = adjust_limits(head, counts=counts)
    logs = log_shares(counts) - log_shares(counts).max()
    for tau in (low, high):
        exact = head.bias.double().numpy() - tau * logs
        # Up to 1000 nats, in float32.
        np.testing.assert_allclose(adjust(head, tau=tau, counts=counts).bias.numpy(), exact, atol=1e-4, rtol=0)


def test_equal_counts_have_no_limits() -> None:
    assert adjust_limits(LinearHead(torch.eye(3)), counts=[7, 7, 7]) == (-math.inf, math.inf)


def test_rows_without_a_label_and_rows_that_are_not_finite(problem: Any, refuses: Any) -> None:
    labels = problem.labels.clone()
    labels[::3] = -1
    lo, hi = adjust_intervals(problem.head, problem.features, labels, counts=problem.counts)
    expected = adjust_intervals(problem.head, problem.features, problem.labels, counts=problem.counts)
    known = labels.numpy() >= 0
    assert (lo[~known] >= hi[~known]).all()
    np.testing.assert_array_equal(lo[known], expected[0][known])
    np.testing.assert_array_equal(hi[known], expected[1][known])
    features = problem.features.clone()
    features[5, 0] = math.nan
    with refuses("row 5 of 110"):
        adjust_intervals(problem.head, features, labels, counts=problem.counts)
