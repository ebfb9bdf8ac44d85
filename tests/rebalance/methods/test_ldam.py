"""LDAM: its margins, what its two parts minimise, and what each of them does for rare classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot
from torch.nn.functional import normalize as unit

from rebalance import NormalizedHead
from rebalance.methods import cosine, ldam, ncm
from rebalance.methods.ldam import ldam_margins

SCALE, DECAY = 10.0, 1e-3


def anchors(problem: Any) -> torch.Tensor:
    return ncm(None, problem.features, problem.labels, transform="l2n", distance="cosine").weight


def stated(problem: Any, weight: torch.Tensor, pulled_to: torch.Tensor, row_weights: torch.Tensor) -> torch.Tensor:
    """The loss of one part in float64: margins off the true class's cosine, rows weighted, a pull."""
    margins = problem.counts.double() ** -0.25
    margins = 0.5 * margins / margins.max()
    cosines = unit(problem.features.double(), dim=1) @ unit(weight, dim=1).T
    logits = SCALE * (cosines - one_hot(problem.labels, 5) * margins)
    losses = cross_entropy(logits, problem.labels, reduction="none")
    far = (SCALE * unit(weight, dim=1) - pulled_to).square().sum()
    return (losses * row_weights).sum() / row_weights.sum() + DECAY / 2 * far


def fit(problem: Any, **options: Any) -> Any:
    return ldam(None, problem.features, problem.labels, scale=SCALE, weight_decay=DECAY, tol=1e-4, **options)


def slope(problem: Any, weight: torch.Tensor, pulled_to: torch.Tensor, row_weights: torch.Tensor) -> float:
    free = weight.double().requires_grad_()
    stated(problem, free, pulled_to.double(), row_weights).backward()
    assert free.grad is not None
    return float(free.grad.abs().max())


def test_the_first_part_is_at_a_minimum_of_the_margin_loss(problem: Any) -> None:
    start, alike = SCALE * anchors(problem), torch.ones(110).double()
    first = fit(problem, beta=0.0)
    assert slope(problem, first.weight, start, alike) < 1e-3 * slope(problem, start, start, alike)
    assert float(stated(problem, first.weight.double(), start, alike)) == pytest.approx(
        first.record["solver"]["objective"], rel=1e-4
    )


def test_the_second_part_is_re_weighted_and_pulled_to_where_the_first_ended(problem: Any) -> None:
    beta = 0.99
    n = problem.counts.double()
    effective = ((1 - beta) / (1 - beta**n))[problem.labels]
    first, both = fit(problem, beta=0.0).weight, fit(problem, beta=beta)
    before = slope(problem, first, first, effective)
    assert slope(problem, both.weight, first, effective) < 5e-3 * before
    assert float(stated(problem, both.weight.double(), first, effective)) == pytest.approx(
        both.record["solver"]["objective"], rel=1e-4
    )
    assert float((both.weight - first).abs().max()) > 0.1


def test_re_weighting_is_for_the_rare_classes(problem: Any) -> None:
    shares = [
        float(fit(problem, beta=beta)(problem.val_features).softmax(1)[:, 3:].sum(1).mean()) for beta in (0, 0.9999)
    ]
    assert shares[1] > 1.2 * shares[0]


def test_a_margin_keeps_the_rows_of_a_class_further_from_the_others(problem: Any) -> None:
    """So much the further, the rarer the class is, with all classes weighed alike."""
    gaps = []
    for margin in (0.0, 0.5):
        cosines = fit(problem, max_margin=margin, beta=1.0)(problem.features) / SCALE
        own = cosines.gather(1, problem.labels[:, None])[:, 0]
        others = cosines.scatter(1, problem.labels[:, None], -2.0).amax(1)
        gaps.append(torch.stack([(own - others)[problem.labels == k].mean() for k in (0, 4)]))
    gained = gaps[1] - gaps[0]
    assert float(gained[1]) > max(0.0, float(gained[0]))


def test_margins_fall_with_the_fourth_root_of_the_counts() -> None:
    margins = ldam_margins(torch.tensor([10000, 625, 16, 1]), torch.tensor([True, True, True, False]), 0.5)
    torch.testing.assert_close(margins, torch.tensor([0.1, 0.2, 0.5, 0.0]))


def test_without_margins_it_is_a_cosine_classifier(problem: Any) -> None:
    ours = ldam(None, problem.features, problem.labels, max_margin=0.0, beta=0.0, scale=5.0, weight_decay=0.01)
    other = cosine(None, problem.features, problem.labels, adjustment=0.0, scale=5.0, weight_decay=0.25)
    torch.testing.assert_close(ours.weight, other.weight, rtol=0, atol=1e-5)


def test_its_logits_are_scaled_cosines(problem: Any) -> None:
    head = ldam(None, problem.features, problem.labels)
    assert isinstance(head, NormalizedHead)
    torch.testing.assert_close(torch.linalg.vector_norm(head.weight, dim=1), torch.full((5,), 30.0))


def test_a_class_without_rows_is_never_predicted_and_takes_no_margin(problem: Any) -> None:
    labels = torch.where(problem.labels == 4, -1, problem.labels)
    head = ldam(problem.head, problem.features, labels)
    assert head.record["absent_classes"] == 1
    assert bool((head(problem.features).softmax(1)[:, 4] == 0).all())
    alone = ldam(None, problem.features[labels >= 0], labels[labels >= 0])
    torch.testing.assert_close(head.weight[:4], alone.weight, rtol=0, atol=1e-2)  # of 30


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [
        ("max_margin", -0.1, "from 0 on"),
        ("scale", 0.0, "above 0"),
        ("beta", 1.5, "from 0 to 1"),
        ("weight_decay", -1.0, "0 or more"),
        ("tol", 0.0, "above 0"),
    ],
)
def test_wrong_values_are_refused(option: str, value: Any, part: str, problem: Any, refuses: Any) -> None:
    with refuses(option, part):
        ldam(None, problem.features, problem.labels, **{option: value})
