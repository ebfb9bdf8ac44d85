"""The nearest class mean, all nine variants against an explicit statement."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid

from rebalance import LinearHead, NormalizedHead
from rebalance.methods import ncm

TRANSFORMS = ("un", "l2n", "cl2n")
DISTANCES = ("l2", "dot", "cosine")
transforms = pytest.mark.parametrize("transform", TRANSFORMS)
distances = pytest.mark.parametrize("distance", DISTANCES)


def unit(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def stated(transform: str, distance: str, train: Any, labels: Any, query: Any) -> np.ndarray[Any, Any]:
    """Scores (M, K): the negative squared distance, the inner product, or the cosine; in float64."""
    x, q, y = train.double().numpy(), query.double().numpy(), labels.numpy()
    if transform == "cl2n":
        mean = x.mean(axis=0)  # over rows, so the frequent classes weigh more
        x, q = x - mean, q - mean
    if transform != "un":
        x, q = unit(x), unit(q)
    means = np.stack([x[y == k].mean(axis=0) for k in range(y.max() + 1)])  # and not scaled again
    if distance == "l2":
        return -((q[:, None] - means[None]) ** 2).sum(axis=2)
    return unit(q) @ unit(means).T if distance == "cosine" else q @ means.T


@transforms
@distances
def test_scores_are_those_of_the_statement(transform: Any, distance: Any, problem: Any) -> None:
    head = ncm(None, problem.features, problem.labels, transform=transform, distance=distance)
    scores = stated(transform, distance, problem.features, problem.labels, problem.val_features)
    logits = head(problem.val_features).double().numpy()
    # Of the squared distance the head leaves out |x|^2, one number a row.
    difference = logits - scores
    offset = difference.mean(axis=1, keepdims=True) if distance == "l2" else 0
    np.testing.assert_allclose(difference - offset, 0, atol=2e-5)
    assert (logits.argmax(1) == scores.argmax(1)).all()


@transforms
@distances
def test_the_type_of_head_says_whether_features_are_normalised(transform: Any, distance: Any, problem: Any) -> None:
    head = ncm(None, problem.features, problem.labels, transform=transform, distance=distance)
    linear = transform == "un" and distance != "cosine"
    assert type(head) is (LinearHead if linear else NormalizedHead)
    if isinstance(head, NormalizedHead):
        mean = problem.features.double().mean(0).float()
        expected = mean if transform == "cl2n" else torch.zeros(8)
        torch.testing.assert_close(head.center, expected)


def test_scikit_learn_agrees(problem: Any) -> None:
    other = NearestCentroid().fit(problem.features.double().numpy(), problem.labels.numpy())
    head = ncm(None, problem.features, problem.labels, transform="un", distance="l2")
    np.testing.assert_allclose(head.weight.numpy() / 2, other.centroids_, atol=1e-6)
    guess = head(problem.val_features).argmax(1).numpy()
    assert (guess == other.predict(problem.val_features.double().numpy())).all()


def test_the_default_is_the_references() -> None:
    record = ncm(None, torch.eye(3), torch.arange(3)).record
    assert record["hyperparameters"] == {"transform": "cl2n", "distance": "l2"}


@transforms
@distances
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_class_without_rows_is_never_predicted(transform: Any, distance: Any, scale: float, problem: Any) -> None:
    labels = torch.where(problem.labels == 2, -1, problem.labels)
    head = ncm(problem.head, scale * problem.features, labels, transform=transform, distance=distance)
    assert head.record["absent_classes"] == 1
    logits = head(scale * torch.cat([problem.features, problem.val_features, -problem.features]))
    assert bool(torch.isfinite(logits).all())
    assert bool((logits.argmax(1) != 2).all())
    assert bool((logits.softmax(1)[:, 2] == 0).all())


@given(st.sampled_from(TRANSFORMS[1:]), st.sampled_from(DISTANCES), st.floats(1e-3, 1e3))
def test_normalised_variants_do_not_see_the_scale(transform: Any, distance: Any, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(20, 4, generator=generator), torch.arange(20) % 3
    one = ncm(None, features, labels, transform=transform, distance=distance)(features)
    other = ncm(None, scale * features, labels, transform=transform, distance=distance)(scale * features)
    torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


@given(st.sampled_from(["l2", "dot", "cosine"]), st.floats(-100, 100))
def test_centring_does_not_see_a_shift(distance: Any, shift: float) -> None:
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(20, 4, generator=generator), torch.arange(20) % 3
    one = ncm(None, features, labels, distance=distance)(features)
    other = ncm(None, features + shift, labels, distance=distance)(features + shift)
    # Entries of size 100 keep 5 digits behind the shift.
    torch.testing.assert_close(other, one, atol=1e-3, rtol=0)


@transforms
@distances
def test_one_row_a_class_is_its_own_mean(transform: Any, distance: Any) -> None:
    features = 5 * torch.eye(4) + 0.1
    head = ncm(None, features, torch.arange(4), transform=transform, distance=distance)
    assert head(features).argmax(1).tolist() == [0, 1, 2, 3]


def test_zero_rows_are_rows() -> None:
    features = torch.cat([torch.zeros(2, 3), torch.eye(3)])
    for transform in TRANSFORMS:
        head = ncm(None, features, torch.tensor([0, 0, 1, 1, 1]), transform=transform)  # type: ignore[arg-type]
        assert bool(torch.isfinite(head(features)).all())


@pytest.mark.parametrize("features", [1e20 * torch.eye(3), 1e-30 * torch.eye(3)])
def test_normalised_means_of_huge_and_tiny_features(features: torch.Tensor) -> None:
    head = ncm(None, features, torch.arange(3), transform="l2n")
    assert head(features).argmax(1).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("option", "value"), [("transform", "l2"), ("distance", "euclidean"), ("distance", "cos")])
def test_an_unknown_variant_is_refused(option: str, value: str, problem: Any, refuses: Any) -> None:
    with refuses(option, value):
        ncm(None, problem.features, problem.labels, **{option: value})  # type: ignore[arg-type]
