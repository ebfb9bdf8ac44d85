"""The plane through three means, and heads on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rebalance import LinearHead
from rebalance.head import GatedHead, NormalizedHead
from rebalance.report.figures.plane import Plane, logits, only, sample

MEANS = arrays(np.float64, (3, 4), elements=st.integers(-50, 50).map(lambda i: i / 10))


@given(MEANS)
def test_the_plane_holds_the_means_and_is_orthonormal(means: Any) -> None:
    area = np.linalg.matrix_rank(means[1:] - means[0])
    if area < 2:
        with pytest.raises(ValueError, match="lie on a line"):
            Plane.through(means, (4, 5, 6))
        return
    plane = Plane.through(means, (4, 5, 6))
    np.testing.assert_allclose(plane.basis @ plane.basis.T, np.eye(2), atol=1e-10)
    places = plane.project(means)
    np.testing.assert_allclose(plane.points(places), means, atol=1e-9)
    np.testing.assert_allclose(places.mean(axis=0), 0, atol=1e-9)
    assert places[1, 0] > places[0, 0]
    assert places[1, 1] == pytest.approx(places[0, 1], abs=1e-9)  # the first axis runs from mean to mean


def test_means_on_a_line_are_named(refuses: Any) -> None:
    with refuses("classes 4, 5, 6", "line"):
        Plane.through(np.array([[0.0, 0], [1, 1], [3, 3]]), (4, 5, 6))
    with refuses("line"):
        Plane.through(np.ones((3, 2)), (0, 1, 2))


def test_a_projection_is_the_nearest_point(problem: Any) -> None:
    means = np.random.default_rng(0).normal(size=(3, 8))
    plane = Plane.through(means, (0, 1, 2))
    rows = problem.val_features.double().numpy()
    off = rows - plane.points(plane.project(rows))
    np.testing.assert_allclose(off @ plane.basis.T, 0, atol=1e-9)


def test_the_sample_has_the_means_of_all_rows_and_some_rows(problem: Any, slice_only: Any) -> None:
    classes = (4, 0, 2)
    labels = problem.labels.clone()
    labels[::7] = -1  # rows without a label are in no class
    found = sample(slice_only(problem.features.half().numpy()), labels, classes, limit=5)
    for i, k in enumerate(classes):
        own = problem.features[labels == k].double().numpy()
        np.testing.assert_allclose(found.means[i], own.mean(axis=0), atol=1e-10)
        drawn = found.rows[found.own == i]
        assert len(drawn) == min(5, len(own))
        assert {tuple(row) for row in drawn} <= {tuple(row) for row in own}


def test_a_sample_over_several_blocks_is_the_same(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    once = sample(problem.features, problem.labels, (0, 1, 2))
    monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 4 * 8 * 3)  # three rows
    again = sample(problem.features, problem.labels, (0, 1, 2))
    np.testing.assert_allclose(once.means, again.means, atol=1e-12)
    np.testing.assert_array_equal(once.rows, again.rows)


def test_a_class_without_rows_is_named(problem: Any, refuses: Any) -> None:
    with refuses("class 3 has no row"):
        sample(problem.features[problem.labels != 3], problem.labels[problem.labels != 3], (0, 1, 3))


@pytest.mark.parametrize("width", [8, 5], ids=["width 8", "as wide as classes"])
def test_heads_of_three_classes_score_as_the_whole(width: int) -> None:
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    weight, bias = numbers(5, width), numbers(5)
    heads = [
        LinearHead(weight, bias),
        NormalizedHead(weight, bias, center=numbers(width)),
        GatedHead(weight, bias, scale=numbers(5), offset=numbers(5), gate=numbers(width), gate_bias=numbers()),
    ]
    rows = numbers(6, width).double().numpy()
    for head in heads:
        np.testing.assert_allclose(logits(only(head, (4, 0, 2)), rows), logits(head, rows)[:, [4, 0, 2]], atol=1e-6)
