"""Features are read out of a running model: a layer's input, or a backbone's output."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from featurecache.classifier import Classifier, Term, capture, capture_output
from featurecache.classifying.capturing import tensor_of


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


def test_inputs_of_several_layers_stand_side_by_side_as_the_classifier_says() -> None:
    class Two(nn.Module):
        """Two layers of the same input and its square."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Any:
            return self.a(x), self.b(x**2)

    model, x = Two(), torch.randn(5, 4)
    terms = (Term("b", 4, 0.5), Term("a", 4, 0.5, normalised=True))
    with capture(model, Classifier("b+a", torch.ones(3, 8), torch.zeros(3), terms)) as captured:
        model(x)
    assert torch.equal(captured.features, torch.cat([x**2, nn.functional.normalize(x)], 1))
    with capture(model, "b+a") as captured:
        model(x)
    assert torch.equal(captured.features, torch.cat([x**2, x], 1))
    with pytest.raises(ValueError, match="no layer 'c'"), capture(model, "a+c"):
        pass


class Backbone(nn.Module):
    """Gives `join(tokens, pooled)`."""

    def __init__(self, join: Any) -> None:
        super().__init__()
        self.stem, self.pool, self.join = nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), join

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        return self.join(x, self.pool(x))


@pytest.mark.parametrize(
    "join",
    [
        lambda _tokens, pooled: pooled.flatten(1),
        lambda _tokens, pooled: pooled,
        lambda tokens, pooled: (None, pooled, tokens),
        lambda tokens, pooled: OrderedDict(last_hidden_state=tokens, pooler_output=pooled),
        lambda tokens, pooled: SimpleNamespace(last_hidden_state=tokens, pooler_output=pooled.flatten(1)),
        lambda tokens, pooled: {"features": pooled, "maps": tokens},
    ],
    ids=["rows", "maps of one pixel", "tuple", "model output", "object", "mapping"],
)
def test_the_output_of_a_backbone_is_its_features(join: Any) -> None:
    model, x = Backbone(join), torch.randn(2, 3, 5, 5)
    with capture_output(model) as captured:
        model(torch.randn(4, 3, 5, 5))
        assert captured.features.shape == (4, 8)
        model(x=x)
    torch.testing.assert_close(captured.features, model.stem(x).mean((2, 3)).detach())
    assert not captured.features.requires_grad
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("join", "given"),
    [
        (lambda tokens, _pooled: tokens, r"\(2, 8, 3, 3\)"),
        (lambda tokens, pooled: (tokens, pooled), r"\(2, 8, 3, 3\)"),
        (lambda tokens, _pooled: {"last_hidden_state": tokens, "pooler_output": None}, r"\(2, 8, 3, 3\)"),
        (lambda _tokens, pooled: pooled.flatten(), r"\(16,\)"),
        (lambda _tokens, _pooled: None, "no tensor"),
    ],
)
def test_any_other_output_is_refused_with_the_modules_that_would_do(join: Any, given: str) -> None:
    model = Backbone(join).train()
    with capture_output(model) as captured:
        model(torch.randn(2, 3, 5, 5))
        with pytest.raises(
            ValueError, match=f"the model gives {given}, expected one .* last are 'pool': name one"
        ) as e:
            _ = captured.features
    assert "\n" not in str(e.value)
    assert model.training
    with capture_output(model, "pool") as captured:
        model(torch.randn(2, 3, 5, 5))
    assert captured.features.shape == (2, 8)


def test_a_model_without_any_features_says_so() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3))
    with capture_output(model, "0") as captured:
        with pytest.raises(ValueError, match="layer '0' was called 0 times in one forward"):
            _ = captured.features
        model(torch.randn(2, 3, 5, 5))
        with pytest.raises(ValueError, match=r"layer '0' gives \(2, 8, 3, 3\), .*; no module of it does: wrap"):
            _ = captured.features
    with pytest.raises(ValueError, match="no layer 'head'"), capture_output(model, "head"):
        pass


def test_a_module_called_twice_has_no_output_of_its_own() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model.append(model[0])
    with capture_output(model, "0") as captured:
        model(torch.randn(2, 4))
        with pytest.raises(ValueError, match="layer '0' was called 2 times in one forward, expected once"):
            _ = captured.features


def test_features_outlive_in_place_operations_behind_them() -> None:
    model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True)), torch.randn(6, 4)
    with torch.no_grad(), capture_output(model, "0") as captured:
        model(x)
        assert torch.equal(captured.features, model[0](x))


def test_the_pooled_output_comes_first_and_then_the_first_tensor() -> None:
    pooled, tokens = torch.ones(2, 3), torch.ones(2, 5, 3)
    assert tensor_of({"last_hidden_state": tokens, "pooler_output": pooled}) is pooled
    assert tensor_of([None, tokens, pooled]) is tokens
    assert tensor_of("text") is None
