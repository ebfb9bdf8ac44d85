"""A layer's input is captured while the model runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from featurecache.classifier import capture


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 5))


def test_features_are_those_of_the_latest_forward() -> None:
    model = mlp().eval()
    first, second = torch.randn(6, 4), torch.randn(3, 4)
    with capture(model, "3") as captured:
        model(first)
        assert torch.equal(captured.features, model[:3](first).detach())
        model(second)
        assert captured.features.shape == (3, 8)
        assert not captured.features.requires_grad
    model(first)
    assert captured.features.shape == (3, 8)


def test_features_of_a_model_that_is_its_classifier() -> None:
    layer, x = nn.Linear(4, 3), torch.randn(6, 4)
    with capture(layer, "") as captured:
        layer(x)
        layer(x)
    assert torch.equal(captured.features, x)


def test_features_are_refused_unless_the_layer_was_called_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model.append(model[0])
    with capture(model, "0") as captured:
        with pytest.raises(ValueError, match="called 0 times"):
            _ = captured.features
        model(torch.randn(2, 4))
        with pytest.raises(ValueError, match="'0' was called 2 times in one forward, expected once"):
            _ = captured.features


def test_features_that_are_not_one_vector_a_row_are_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    with capture(model, "0") as captured:
        model(torch.randn(2, 3, 4))
        with pytest.raises(ValueError, match=r"layer '0': its input is \(2, 3, 4\)"):
            _ = captured.features


def test_hooks_go_even_after_an_error() -> None:
    model = mlp()
    with pytest.raises(RuntimeError, match="stop"), capture(model, "3"):
        raise RuntimeError("stop")
    assert all(not module._forward_pre_hooks for module in model.modules())
