"""Classifiers of directions, and what they become in the end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from featurecache.models.normed import NormedLinear, UnitLinear, fold, unfolded, with_normed

ROWS = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def test_its_logits_are_scaled_cosines() -> None:
    layer = NormedLinear(4, 3, 30.0)
    cosines = torch.nn.functional.cosine_similarity(ROWS[:, None], layer.weight[None], dim=2)
    torch.testing.assert_close(layer(ROWS), 30 * cosines, rtol=1e-5, atol=1e-5)
    assert float(layer(ROWS).detach().abs().max()) <= 30
    before = layer(ROWS).detach()
    with torch.no_grad():
        layer.weight.mul_(7)
    torch.testing.assert_close(layer(3 * ROWS), before)


def test_it_begins_at_the_directions_of_the_old_layer() -> None:
    model = network()
    old = model[2].weight.detach().clone()
    new = with_normed(model, "2", 16.0)
    assert model[2] is new
    torch.testing.assert_close(new.weight, torch.nn.functional.normalize(old))
    model = network()
    nn.init.zeros_(model[2].weight)  # as some of timm's heads are
    assert bool(with_normed(model, "2", 16.0).weight.any(dim=1).all())


def test_folded_it_gives_the_same_logits_as_a_plain_layer() -> None:
    model = network().eval()
    with_normed(model, "2", 16.0)
    expected = model(ROWS)
    assert fold(model, "2") == "2"
    torch.testing.assert_close(model(ROWS), expected, rtol=1e-5, atol=1e-5)
    assert isinstance(model[2], UnitLinear)
    plain = model[2][1]
    assert type(plain) is nn.Linear
    assert not plain.bias.any()
    torch.testing.assert_close(plain.weight.norm(dim=1), torch.full((3,), 16.0))


def test_a_fresh_model_takes_the_folded_weights() -> None:
    model, other = network(), network()
    with_normed(model, "2", 16.0)
    place = fold(model, "2")
    unfolded(other, place)
    nn.init.zeros_(other[2][1].weight)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(ROWS), model(ROWS))


def test_what_is_folded_can_be_trained_so_again() -> None:
    model = network()
    with_normed(model, "2", 16.0)
    fold(model, "2")
    before = model(ROWS)
    with_normed(model, "2.1", 16.0)
    torch.testing.assert_close(model(ROWS), before, rtol=1e-5, atol=1e-5)
    assert fold(model, "2.1") == "2"
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.1.weight", "2.1.bias"]
    torch.testing.assert_close(model(ROWS), before, rtol=1e-5, atol=1e-5)


def test_anything_but_a_linear_layer_is_refused(refused: Any) -> None:
    with refused("classifier '1' is a ReLU", "needs an nn.Linear"):
        with_normed(network(), "1", 16.0)
    with refused("classifier '' is a Linear"):
        with_normed(nn.Linear(4, 3), "", 16.0)
    with refused("scale is 0"):
        with_normed(network(), "2", 0)
    with refused("layer '2' is a Linear, expected a NormedLinear"):
        fold(network(), "2")


@pytest.mark.parametrize("layer", ["1", "9", "", "2.1"])
def test_there_must_be_a_layer_to_unfold(layer: str, refused: Any) -> None:
    with refused("the model has no linear classifier"):
        unfolded(network(), layer)
