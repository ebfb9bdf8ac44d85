"""Layers are summands of the logits by what noise in their outputs does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from featurecache.classifying.observing import observe
from featurecache.classifying.sums import Summand, factors_of, outermost, summand_of


class Two(nn.Module):
    """Two layers whose outputs are joined; the second is fed by the first if `chained`."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor], *, chained: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.join, self.chained = nn.Linear(5, 5), nn.Linear(5, 5), join, chained

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        return self.join(a, self.b(a if self.chained else x))


def summands(model: Two, x: Tensor) -> list[Summand]:
    """Both layers as summands."""
    with torch.no_grad():
        logits, calls = observe(model, x, [("a", model.a), ("b", model.b)])
        return [summand_of(model, x, logits, call, calls) for call in calls]


def test_factors_are_measured_and_then_read_exactly() -> None:
    model, x = Two(lambda a, b: a / 3 - 7 * b), torch.randn(4, 5)
    found = summands(model, x)
    assert [summand.factor for summand in found] == pytest.approx([1 / 3, -7], rel=1e-4)
    with torch.no_grad():
        assert factors_of(model, x, found) == [torch.tensor(1 / 3).item(), -7]


def test_a_layer_that_feeds_another_is_not_added_to_it() -> None:
    model, x = Two(lambda _a, b: b, chained=True), torch.randn(4, 5)
    nn.init.eye_(model.b.weight)
    found = summands(model, x)
    assert [summand.feeds for summand in found] == [{"b"}, set()]
    assert [summand.call.name for summand in outermost(found)] == ["b"]
    assert [summand.call.name for summand in outermost(found[:1])] == ["a"]


@pytest.mark.parametrize(
    ("join", "reason"),
    [
        (lambda _a, b: b, "does not reach"),
        (lambda a, b: a.relu() + b, "not linear"),
        (lambda a, b: a.roll(1, 1) + b, "not linear"),
        (lambda a, b: a.roll(1, 0) + b, "not linear"),
        (lambda a, b: a * torch.arange(1, 6) + b, "not linear"),
        (lambda a, b: torch.rand_like(a) + b, "not linear"),
    ],
    ids=["unused", "relu", "other classes", "other rows", "class by class", "random"],
)
def test_what_is_not_a_multiple_is_refused(join: Callable[[Tensor, Tensor], Tensor], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        summands(Two(join), torch.randn(4, 5))


def test_what_else_is_added_is_noticed() -> None:
    model, x = Two(lambda a, b: 2 * a + b), torch.randn(4, 5)
    with torch.no_grad(), pytest.raises(ValueError, match="something else is added"):
        factors_of(model, x, summands(model, x)[:1])


def test_a_layer_that_gives_next_to_nothing_is_still_seen() -> None:
    model = Two(lambda a, b: a + b)
    nn.init.zeros_(model.a.weight)
    nn.init.constant_(model.a.bias, 1e-9)
    assert [summand.factor for summand in summands(model, torch.randn(4, 5))] == [1, 1]
