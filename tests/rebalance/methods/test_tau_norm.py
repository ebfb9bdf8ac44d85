"""tau-normalisation: its formula, its invariances, and the exact search against explicit rescaling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rebalance import LinearHead
from rebalance.methods import tau_norm
from rebalance.methods.tau_norm import tau_intervals, tau_limits

LABELS = torch.tensor([0])
BIASES = pytest.mark.parametrize("bias", ["drop", "keep", "scale"])


def rescale(head: LinearHead, tau: float, bias: Any = "drop") -> LinearHead:
    return tau_norm(head, torch.zeros(1, head.width), LABELS, tau=tau, bias=bias)


@BIASES
@given(st.floats(-2, 4))
def test_the_formula(bias: str, tau: float) -> None:
    generator = torch.Generator().manual_seed(0)
    head = LinearHead(torch.randn(6, 4, generator=generator), torch.randn(6, generator=generator))
    weight, own_bias = head.weight.double().numpy(), head.bias.double().numpy()
    factors = np.linalg.norm(weight, axis=1) ** -tau
    out = rescale(head, tau, bias)
    # Computed in float64, rounded once to float32.
    np.testing.assert_allclose(out.weight.numpy(), weight * factors[:, None], rtol=1e-6)
    expected = {"drop": np.zeros(6), "keep": own_bias, "scale": own_bias * factors}[bias]
    np.testing.assert_allclose(out.bias.numpy(), expected, rtol=1e-6)


def test_tau_0_is_the_head_without_its_bias(problem: Any) -> None:
    out = rescale(problem.head, 0.0)
    assert torch.equal(out.weight, problem.head.weight)
    assert not out.bias.any()
    kept = rescale(problem.head, 0.0, "keep")
    assert torch.equal(kept(problem.features), problem.head(problem.features))


def test_tau_1_makes_all_norms_one(problem: Any) -> None:
    norms = torch.linalg.vector_norm(rescale(problem.head, 1.0).weight.double(), dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=1e-6, atol=0)


@given(st.floats(-1, 3), st.floats(-1, 3))
def test_norms_end_at_their_power(tau: float, again: float) -> None:
    """|w|^(1 - tau), and so twice is once: (1 - a)(1 - b) = 1 - (a + b - ab)."""
    head = LinearHead(torch.randn(4, 3, generator=torch.Generator().manual_seed(1)))
    twice, once = rescale(rescale(head, tau), again), rescale(head, tau + again - tau * again)
    torch.testing.assert_close(twice.weight, once.weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 7.0, 1e6])
def test_decisions_do_not_change_when_all_weights_are_scaled(problem: Any, scale: float) -> None:
    for tau in (0.0, 0.7, 1.0, 2.0):
        small = rescale(problem.head, tau)(problem.val_features)
        large = rescale(LinearHead(problem.head.weight * scale), tau)(problem.val_features)
        # One common factor |scale|^(1 - tau).
        torch.testing.assert_close(large / scale ** (1 - tau), small, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", [1e-30, 1e30])
def test_tiny_and_huge_norms_are_normalised(norm: float) -> None:
    out = rescale(LinearHead(torch.tensor([[3.0, 4.0], [-4.0, 3.0]]) * norm), 1.0)
    torch.testing.assert_close(out.weight, torch.tensor([[0.6, 0.8], [-0.8, 0.6]]), rtol=1e-5, atol=0)


def test_a_class_of_norm_0_is_named(refuses: Any) -> None:
    head = LinearHead(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    with refuses("class 1", "norm 0", "2 of 4"):
        rescale(head, 1.0)
    with refuses("class 1"):
        tau_intervals(head, torch.ones(1, 2), LABELS)


@pytest.mark.parametrize("tau", [math.nan, math.inf])
def test_a_tau_that_is_no_number_is_refused(problem: Any, tau: float, refuses: Any) -> None:
    with refuses("tau is"):
        rescale(problem.head, tau)


def test_a_tau_beyond_float32_is_refused_by_its_name(refuses: Any) -> None:
    with refuses("tau"):
        rescale(LinearHead(torch.eye(2) / 2), 1000.0)


def test_the_record_says_what_was_done_to_which_head(problem: Any) -> None:
    out = rescale(problem.head, 0.7, "scale")
    assert out.record == {
        "source": "test",
        "method": "tau_norm",
        "hyperparameters": {"tau": 0.7, "bias": "scale"},
    }


def assert_intervals_are_brute_force(head: LinearHead, features: Any, labels: np.ndarray[Any, Any], bias: str) -> None:
    lo, hi = tau_intervals(head, features, torch.from_numpy(labels), bias=bias)
    weight = head.weight.double().numpy()
    z = features @ weight.T + (head.bias.double().numpy() if bias == "scale" else 0)
    norms = np.linalg.norm(weight, axis=1)
    ends = np.unique(np.concatenate([lo, hi]))
    ends = ends[np.isfinite(ends)]
    middles = (ends[1:] + ends[:-1]) / 2
    t = np.concatenate([np.random.default_rng(0).uniform(-6, 6, 2000), middles])
    # Next to a breakpoint two scores are equal up to rounding; within 40 of zero the powers do not overflow.
    t = t[(np.abs(t[:, None] - ends).min(axis=1, initial=math.inf) > 1e-7) & (np.abs(t) < 40)]
    right = (z[None] * norms ** -t[:, None, None]).argmax(axis=2) == labels
    np.testing.assert_array_equal((lo < t[:, None]) & (t[:, None] < hi), right)


@st.composite
def integer_problems(draw: st.DrawFn) -> tuple[LinearHead, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A diagonal head of power-of-two norms, often equal, and features that make every logit a small integer.

    All of it is exact, so zeros, equal logits and equal norms are real ties.
    """
    classes, rows = draw(st.integers(1, 5)), draw(st.integers(1, 10))
    norms = 2.0 ** draw(arrays(np.int64, classes, elements=st.integers(-1, 1)))
    bias = draw(arrays(np.float32, classes, elements=st.integers(-2, 2).map(float)))
    logits = draw(arrays(np.float64, (rows, classes), elements=st.integers(-3, 3).map(float)))
    labels = draw(arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    head = LinearHead(torch.from_numpy(np.diag(norms)), torch.from_numpy(bias))
    return head, logits / norms, labels


@pytest.mark.parametrize("bias", ["drop", "scale"])
@given(integer_problems())
def test_intervals_with_ties_are_those_of_explicit_rescaling(bias: str, drawn: Any) -> None:
    head, features, labels = drawn
    assert_intervals_are_brute_force(head, features, labels, bias)


@pytest.mark.parametrize("bias", ["drop", "scale"])
@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.sampled_from([-1.5, 0.0, 1.5]))
def test_intervals_of_random_heads_are_those_of_explicit_rescaling(
    bias: str, seed: int, classes: int, shift: float
) -> None:
    """shift: features of one sign make most logits negative, or positive."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(classes, 4)) + shift
    head = LinearHead(torch.from_numpy(weight), torch.from_numpy(rng.normal(size=classes)))
    features = rng.normal(size=(20, 4)).astype(np.float32) + np.float32(1)
    labels = rng.integers(0, classes, 20)
    assert_intervals_are_brute_force(head, features, labels, bias)


def test_large_problems_in_float32_give_nearly_the_same_intervals(
    problem: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = tau_intervals(problem.head, problem.features, problem.labels)
    monkeypatch.setattr("rebalance.search.intervals.EXACT", 0)
    coarse = tau_intervals(problem.head, problem.features, problem.labels)
    for a, b in zip(exact, coarse, strict=True):
        np.testing.assert_array_equal(np.isinf(a), np.isinf(b))
        # Logits above 0.01 err by 1e-4 relatively at worst; norms differ by a factor of more than e^0.05.
        np.testing.assert_allclose(a[np.isfinite(a)], b[np.isfinite(b)], atol=2e-3)


@pytest.mark.parametrize("norms", [(1e-3, 2.0), (1.0, 1e30), (1e-30, 1.0), (0.5, 3.0)])
def test_inside_the_limits_a_head_can_be_made(norms: tuple[float, float]) -> None:
    head = LinearHead(torch.diag(torch.tensor(norms)))
    low, high = tau_limits(head)
    assert low < 0 < high
    for tau in (low, high):
        assert bool(torch.isfinite(rescale(head, tau, "scale").weight).all())


def test_equal_norms_of_one_have_no_limits() -> None:
    assert tau_limits(LinearHead(torch.eye(3))) == (-math.inf, math.inf)


def test_rows_without_a_label_are_never_right(problem: Any) -> None:
    labels = problem.labels.clone()
    labels[::3] = -1
    lo, hi = tau_intervals(problem.head, problem.features, labels)
    expected = tau_intervals(problem.head, problem.features, problem.labels)
    known = labels.numpy() >= 0
    assert (lo[~known] >= hi[~known]).all()
    np.testing.assert_array_equal(lo[known], expected[0][known])
    np.testing.assert_array_equal(hi[known], expected[1][known])


def test_a_kept_bias_has_no_intervals(problem: Any, refuses: Any) -> None:
    with refuses("bias=keep", "several intervals"):
        tau_intervals(problem.head, problem.features, problem.labels, bias="keep")
