"""Mixup."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from featurecache.training.mixing import Mixup

IMAGES = torch.arange(5 * 2.0).reshape(5, 2)
LABELS = torch.tensor([0, 1, 2, 1, 0])


def test_without_alpha_nothing_happens_and_nothing_is_drawn() -> None:
    before = torch.get_rng_state()
    inputs, loss = Mixup(0)({"any": "thing"}, LABELS, cross_entropy)
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert inputs == {"any": "thing"}
    assert torch.equal(loss(logits), cross_entropy(logits, LABELS))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", range(5))
def test_images_and_losses_are_mixed_by_one_share_in_one_order(seed: int) -> None:
    torch.manual_seed(seed)
    mixed, loss = Mixup(0.4)(IMAGES, LABELS, cross_entropy)
    torch.manual_seed(seed)
    share = float(torch.distributions.Beta(0.4, 0.4).sample())
    order = torch.randperm(5)
    torch.testing.assert_close(mixed, share * IMAGES + (1 - share) * IMAGES[order])
    logits = torch.randn(5, 3)
    target = share * torch.eye(3)[LABELS] + (1 - share) * torch.eye(3)[LABELS[order]]
    torch.testing.assert_close(loss(logits), cross_entropy(logits, target))  # with soft labels: the same


def test_shares_are_those_of_the_beta_distribution() -> None:
    torch.manual_seed(0)
    pair, labels = torch.tensor([[0.0], [1.0]]), torch.zeros(2, dtype=torch.int64)
    first = torch.tensor([float(Mixup(2.0)(pair, labels, cross_entropy)[0][0, 0]) for _ in range(2000)])
    moved = first[first > 0]  # half of the orders leave the images where they are
    assert 900 < len(moved) < 1100
    # Beta(2, 2): mean 1/2, variance 1/20; three standard errors.
    assert float(moved.mean()) == pytest.approx(0.5, abs=3 * (1 / 20 / len(moved)) ** 0.5)
    assert float(moved.var()) == pytest.approx(1 / 20, rel=0.15)


@pytest.mark.parametrize("inputs", [{"x": IMAGES}, [IMAGES], IMAGES.long()], ids=["mapping", "list", "integers"])
def test_what_cannot_be_mixed_is_refused(inputs: Any, refused: Any) -> None:
    with refused("mixup mixes tensors of floats", "leave mixup out"):
        Mixup(0.2)(inputs, LABELS, cross_entropy)
