"""LDA against scikit-learn, the density it stands for, and its limits."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import oas
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from rebalance.methods import lda, ncm

PRIORS: tuple[Any, ...] = ("uniform", "empirical")
shrinkages = pytest.mark.parametrize("shrinkage", [0.0, 1e-4, 0.1, 1.0])


def softmax(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    exp = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def class_rows(features: Any, labels: Any) -> list[np.ndarray[Any, Any]]:
    return [features[labels == k].double().numpy() for k in range(int(labels.max()) + 1)]


@pytest.mark.parametrize("prior", ["uniform", "empirical"])
@shrinkages
def test_scikit_learn_agrees(shrinkage: float, prior: Any, problem: Any) -> None:
    other = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage=shrinkage, priors=None if prior == "empirical" else np.full(5, 1 / 5)
    )
    other.fit(problem.features.double().numpy(), problem.labels.numpy())
    query = torch.cat([problem.val_features, -3 * problem.features])
    ours = lda(None, problem.features, problem.labels, shrinkage=shrinkage, prior=prior)(query)
    theirs = other.decision_function(query.double().numpy())
    # The two differ by one number a row, the mean's part. Products of float32: relative errors of 1e-6, times 10.
    difference = ours.double().numpy() - theirs
    np.testing.assert_allclose(difference - difference.mean(axis=1, keepdims=True), 0, atol=2e-4)
    assert (ours.argmax(1).numpy() == other.predict(query.double().numpy())).all()


@pytest.mark.parametrize("prior", ["uniform", "empirical"])
def test_probabilities_are_those_of_the_gaussians(prior: Any, problem: Any) -> None:
    groups = class_rows(problem.features, problem.labels)
    shares = np.array([len(x) for x in groups]) / len(problem.labels) if prior == "empirical" else np.ones(5) / 5
    pooled = sum(share * np.cov(x.T, bias=True) for share, x in zip(shares, groups, strict=True))
    covariance = 0.8 * pooled + 0.2 * np.trace(pooled) / 8 * np.eye(8)
    query = problem.val_features.double().numpy()
    distances = np.stack(
        [np.einsum("ij,jk,ik->i", query - x.mean(0), np.linalg.inv(covariance), query - x.mean(0)) for x in groups], 1
    )
    head = lda(None, problem.features, problem.labels, shrinkage=0.2, prior=prior)
    ours = head(problem.val_features).double().softmax(1).numpy()
    np.testing.assert_allclose(ours, softmax(np.log(shares) - distances / 2), atol=1e-5)


def test_the_default_shrinkage_is_scikit_learns_of_the_centred_rows(problem: Any) -> None:
    centred = np.concatenate([x - x.mean(0) for x in class_rows(problem.features, problem.labels)])
    expected = oas(centred, assume_centered=True)[1]
    head = lda(None, problem.features, problem.labels, prior="empirical")
    assert head.record["shrinkage"] == pytest.approx(expected, rel=1e-5)
    assert 0.01 < expected < 0.99
    same = lda(None, problem.features, problem.labels, shrinkage=head.record["shrinkage"], prior="empirical")
    assert torch.equal(same.weight, head.weight)


def test_classes_of_the_same_size_weigh_the_same_under_both_priors(problem: Any) -> None:
    rows = torch.cat([torch.nonzero(problem.labels == k)[:2, 0] for k in range(5)])
    uniform, empirical = (lda(None, problem.features[rows], problem.labels[rows], prior=each) for each in PRIORS)
    torch.testing.assert_close(uniform.weight, empirical.weight, rtol=1e-5, atol=1e-6)
    assert uniform.record["shrinkage"] == pytest.approx(empirical.record["shrinkage"])


def test_a_frequent_class_does_not_own_the_spread() -> None:
    """The frequent class is wide where the rare ones, told apart there, are narrow: rows would call that axis noise."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(2000, 2, generator=generator) * torch.tensor([5.0, 1.0]) + torch.tensor([0.0, 40.0])
    left, right = (torch.randn(20, 2, generator=generator) * 0.3 + torch.tensor([x, 0.0]) for x in (-1.0, 1.0))
    features, labels = torch.cat([wide, left, right]), torch.tensor([0] * 2000 + [1] * 20 + [2] * 20)
    uniform, empirical = (lda(None, features, labels, prior=each, shrinkage=0) for each in PRIORS)
    apart = [float(head(right).softmax(1)[:, 2].mean()) for head in (uniform, empirical)]
    assert apart[0] > apart[1]


def test_a_sphere_is_the_nearest_class_mean(problem: Any) -> None:
    ours = lda(None, problem.features, problem.labels, shrinkage=1)(problem.val_features)
    nearest = ncm(None, problem.features, problem.labels, transform="un")(problem.val_features)
    assert torch.equal(ours.argmax(1), nearest.argmax(1))


@given(st.integers(0, 2**31), st.floats(-50, 50))
def test_without_shrinkage_any_linear_change_of_the_features_leaves_the_logits(seed: int, shift: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    features, labels = torch.randn(60, 4, generator=generator), torch.arange(60) % 3
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=generator)).Q * torch.tensor([0.1, 0.5, 1, 10])
    moved = features @ rotation.T + shift
    one = lda(None, features, labels, shrinkage=0)(features)
    other = lda(None, moved, labels, shrinkage=0)(moved)
    # Entries near 50 keep five digits, of which the smallest direction, of size 0.1, keeps three.
    torch.testing.assert_close(other - other.mean(1, True), one - one.mean(1, True), atol=2e-2, rtol=0)


@pytest.mark.parametrize("width", [5, 30])
def test_covariance_in_panels_is_the_whole(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(200, width, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(200) % 4
    whole = lda(None, features, labels)
    monkeypatch.setattr(sys.modules["rebalance.methods.lda"], "PANEL", 7)  # the package names the function so
    monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 4 * width * 33)
    torch.testing.assert_close(lda(None, features, labels).weight, whole.weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prior", ["uniform", "empirical"])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_class_without_rows_is_never_predicted(prior: Any, scale: float, problem: Any) -> None:
    labels = torch.where(problem.labels == 2, -1, problem.labels)
    head = lda(problem.head, scale * problem.features, labels, prior=prior)
    assert head.record["absent_classes"] == 1
    logits = head(scale * torch.cat([problem.features, problem.val_features, -problem.features]))
    assert bool(torch.isfinite(logits).all())
    assert bool((logits.softmax(1)[:, 2] == 0).all())


def test_the_scale_of_the_features_does_not_matter(problem: Any) -> None:
    one = lda(None, problem.features, problem.labels)(problem.val_features)
    for scale in (1e-12, 1e12):
        other = lda(None, scale * problem.features, problem.labels)(scale * problem.val_features)
        torch.testing.assert_close(other - other.mean(1, True), one - one.mean(1, True), rtol=1e-3, atol=1e-3)


def test_features_beyond_their_squares_are_refused(problem: Any, refuses: Any) -> None:
    with refuses("leave float32"):
        lda(None, 1e25 * problem.features, problem.labels)


@pytest.mark.parametrize("repeat", [1, 3])
def test_classes_that_repeat_one_row_are_points_on_a_sphere(repeat: int) -> None:
    points = torch.tensor([[0.0, 0.1], [1.0, 0.3], [0.0, 2.7]])
    head = lda(None, points.repeat(repeat, 1), torch.arange(3).repeat(repeat))
    assert head.record["shrinkage"] == 1
    assert head(points).argmax(1).tolist() == [0, 1, 2]


def test_one_class_with_rows_among_single_ones_gives_the_covariance(problem: Any) -> None:
    features = torch.cat([problem.features[problem.labels == 0], problem.val_features[:2]])
    labels = torch.tensor([0] * 60 + [1, 2])
    head = lda(None, features, labels)
    assert 0 < head.record["shrinkage"] < 1
    assert head(features[60:]).argmax(1).tolist() == [1, 2]


SINGULAR = {
    "constant column": lambda x: torch.cat([x, torch.full((len(x), 1), 0.1)], 1),
    "column twice": lambda x: torch.cat([x, x[:, :1]], 1),
    "sum of columns": lambda x: torch.cat([x, x[:, :1] + x[:, 3:4]], 1),
    "more columns than rows": lambda x: x.repeat(1, 20) + torch.randn(110, 160, generator=torch.Generator()),
}


@pytest.mark.parametrize("kind", SINGULAR)
def test_a_singular_covariance_needs_shrinkage(kind: str, problem: Any, refuses: Any) -> None:
    features = SINGULAR[kind](problem.features)
    with refuses("covariance is singular", "larger shrinkage"):
        lda(None, features, problem.labels, shrinkage=0)
    for shrinkage in (1e-3, "oas"):
        logits = lda(None, features, problem.labels, shrinkage=shrinkage)(features)  # type: ignore[arg-type]
        assert bool(torch.isfinite(logits).all())
        assert float((logits.argmax(1) == problem.labels).float().mean()) > 0.7


@given(st.integers(0, 2**31), st.sampled_from([(200, 4), (300, 30)]))
def test_a_column_that_is_a_sum_is_seen_whatever_the_rounding(seed: int, shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = 3 + torch.randn(shape, generator=generator, dtype=torch.float64)
    features = torch.cat([features, features @ torch.randn(shape[1], 1, generator=generator, dtype=torch.float64)], 1)
    with pytest.raises(ValueError, match="covariance is singular"):
        lda(None, features, torch.arange(shape[0]) % 3, shrinkage=0)


@pytest.mark.parametrize(("rows", "enough"), [(51, False), (52, False), (53, True)])
def test_there_must_be_a_row_a_column_and_one_a_class(rows: int, enough: bool, refuses: Any) -> None:
    features = torch.randn(rows, 50, generator=torch.Generator().manual_seed(0))
    with contextlib.nullcontext() if enough else refuses("covariance is singular"):
        lda(None, features, torch.arange(rows) % 3, shrinkage=0)


@pytest.mark.parametrize("shrinkage", [-0.1, 1.1, float("nan"), "auto"])
def test_an_impossible_shrinkage_is_refused(shrinkage: Any, problem: Any, refuses: Any) -> None:
    with refuses("shrinkage", str(shrinkage), "0 to 1"):
        lda(None, problem.features, problem.labels, shrinkage=shrinkage)


def test_an_unknown_prior_is_refused(problem: Any, refuses: Any) -> None:
    with refuses("prior", "balanced", "uniform or empirical"):
        lda(None, problem.features, problem.labels, prior="balanced")  # type: ignore[arg-type]
