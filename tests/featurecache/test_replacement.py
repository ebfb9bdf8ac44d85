"""The model with another classifier."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from featurecache.classifier import Classifier, Term, find_classifier
from featurecache.replacement import NormalisedLinear, replace_classifier


class Pooled(nn.Module):
    """A backbone with a 1x1 convolution as its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.fc = nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.stem(x).mean((2, 3), keepdim=True)).flatten(1)
        return logits


class Tied(nn.Module):
    """An embedding that is also the classifier's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 8)
        self.fc = nn.Linear(8, 5)
        self.fc.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.embedding(x).mean(1))
        return logits


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5))


def test_the_copy_computes_with_the_new_classifier_and_the_original_is_untouched() -> None:
    model, new, x = mlp().eval(), nn.Linear(8, 5), torch.randn(6, 4)
    before, state = model(x), copy.deepcopy(model.state_dict())
    patched = replace_classifier(model, new)
    assert torch.equal(patched(x), new(model[:3](x)))
    assert torch.equal(model(x), before)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert patched.state_dict().keys() == state.keys()
    shared = {p.data_ptr() for p in patched.parameters()} & {
        p.data_ptr() for p in (*model.parameters(), *new.parameters())
    }
    assert shared == set()


def test_a_convolution_is_replaced_by_a_convolution() -> None:
    model, new, x = Pooled(), nn.Linear(8, 5), torch.randn(2, 3, 6, 6)
    patched = replace_classifier(model, new)
    assert isinstance(patched.fc, nn.Conv2d)
    pooled = model.stem(x).mean((2, 3))
    torch.testing.assert_close(patched(x), new(pooled))
    assert {name: value.shape for name, value in patched.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    assert replace_classifier(model, nn.Linear(8, 5, bias=False)).fc.bias is None


def test_any_module_takes_the_place_of_a_convolution() -> None:
    new = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 5))
    model, x = Pooled(), torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(replace_classifier(model, new, layer="fc")(x), new(model.stem(x).mean((2, 3))))
    with pytest.raises(ValueError, match="pass layer="):
        replace_classifier(model, new)


@pytest.mark.parametrize("training", [True, False])
def test_dtype_mode_and_gradients(training: bool) -> None:
    model = mlp().double().requires_grad_(False).train(training)
    patched = replace_classifier(model, nn.Linear(8, 5).train(not training))
    assert patched[3].weight.dtype == torch.float64
    assert patched[3].training == training
    assert patched[3].weight.requires_grad
    assert patched[3].bias.requires_grad
    assert not patched[0].weight.requires_grad


def test_a_tied_weight_is_untied() -> None:
    model, new = Tied(), nn.Linear(8, 5)
    patched = replace_classifier(model, new)
    assert torch.equal(patched.embedding.weight, model.embedding.weight)
    assert torch.equal(patched.fc.weight, new.weight)
    assert patched.fc.weight is not patched.embedding.weight


def test_a_model_that_is_its_classifier() -> None:
    new = nn.Linear(8, 5)
    patched = replace_classifier(nn.Linear(8, 5), new)
    assert patched is not new
    assert torch.equal(patched.weight, new.weight)


class Mixed(nn.Module):
    """Adds a linear layer, a cosine layer and a convolution, each times a factor."""

    def __init__(self, factors: tuple[float, float, float]) -> None:
        super().__init__()
        self.linear, self.cosine, self.conv = nn.Linear(4, 5), NormalisedLinear(4, 5), nn.Conv2d(4, 5, 1)
        self.factors = factors

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.factors
        return a * self.linear(x) + b * self.cosine(2 * x) + c * self.conv(x[:, :, None, None] ** 2).flatten(1)


def features_of_mixed(x: Tensor) -> Tensor:
    return torch.cat([x, nn.functional.normalize(x), x**2], 1)


@given(
    factors=st.tuples(*[st.sampled_from([1, 0.5, 1 / 3, -2, 7.25])] * 3), bias=st.booleans(), seed=st.integers(0, 99)
)
def test_a_classifier_is_divided_among_layers_that_are_added(
    factors: tuple[float, float, float], bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    model, x = Mixed(factors), torch.randn(6, 4)
    found = find_classifier(model, x)
    assert found.weight.shape == (5, 12)
    new = nn.Linear(12, 5, bias=bias)
    patched = replace_classifier(model, new, layer=found)
    torch.testing.assert_close(patched(x), new(features_of_mixed(x)), rtol=1e-4, atol=1e-4)
    assert isinstance(patched.conv, nn.Conv2d)
    again = find_classifier(patched, x)
    assert [term.name for term in again.terms] == ["linear", "cosine", "conv"]
    torch.testing.assert_close(again.weight, new.weight.detach(), rtol=1e-4, atol=1e-5)


def test_what_was_found_is_put_back_as_it_was() -> None:
    model, x = Mixed((0.5, 0.25, 2)), torch.randn(6, 4)
    found = find_classifier(model, x)
    same = nn.Linear(12, 5)
    same.load_state_dict({"weight": found.weight, "bias": found.bias})
    torch.testing.assert_close(replace_classifier(model, same, layer=found)(x), model(x))


def test_a_cosine_head_is_replaced_by_a_linear_one_that_normalises() -> None:
    class Columns(nn.Module):
        """The cosine with the columns of a matrix (D, K), times 30."""

        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Parameter(torch.randn(8, 5))

        def forward(self, x: Tensor) -> Tensor:
            return 30 * nn.functional.normalize(x) @ nn.functional.normalize(self.matrix, dim=0)

    model, new, x = nn.Sequential(nn.Linear(4, 8), Columns()), nn.Linear(8, 5), torch.randn(6, 4)
    patched = replace_classifier(model, new, layer=find_classifier(model, x))
    torch.testing.assert_close(patched(x), new(nn.functional.normalize(model[0](x))))
    assert {name: value.shape for name, value in patched[1].state_dict().items()} == {"weight": (5, 8), "bias": (5,)}


def test_a_factor_behind_a_layer_is_taken_out_of_the_new_weight() -> None:
    class Scaled(nn.Sequential):
        """A temperature behind the last layer."""

        def forward(self, input: Tensor) -> Tensor:
            logits: Tensor = super().forward(input) / 0.07
            return logits

    model, new, x = Scaled(nn.Linear(4, 8), nn.Linear(8, 5)).double(), nn.Linear(8, 5), torch.randn(6, 4).double()
    patched = replace_classifier(model, new, layer=find_classifier(model, x))
    torch.testing.assert_close(patched(x), copy.deepcopy(new).double()(model[0](x)))
    assert patched[1].weight.dtype == torch.float64


def test_a_plain_classifier_is_replaced_by_any_module_under_its_name() -> None:
    model, x = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5)), torch.randn(6, 5)
    new = nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 5))
    patched = replace_classifier(model, new, layer=find_classifier(model, x))
    assert torch.equal(patched(x), new(model[:2](x)))


@pytest.mark.parametrize(
    "new", [nn.Linear(8, 5), nn.Linear(12, 4), nn.Sequential(nn.Linear(12, 5)), nn.Bilinear(4, 4, 5)]
)
def test_what_cannot_be_divided_is_refused(new: nn.Module) -> None:
    model = Mixed((0.5, 0.25, 2))
    found = find_classifier(model, torch.randn(6, 4))
    with pytest.raises(
        ValueError,
        match=r"'linear\+cosine\+conv' .* 3 layer.* 0\.5 \(4\), 0\.25 \(4, normalised\), .* expected an nn\.Linear",
    ):
        replace_classifier(model, new, layer=found)


def test_several_layers_need_their_factors() -> None:
    with pytest.raises(ValueError, match=r"'linear\+conv' names several layers: pass layer=find_classifier"):
        replace_classifier(Mixed((1, 1, 1)), nn.Linear(8, 5), layer="linear+conv")


def test_a_convolution_that_is_normalised_stays_so() -> None:
    model, x = nn.Sequential(nn.Conv2d(8, 5, 1), nn.Flatten()), torch.randn(2, 8, 1, 1)
    new = nn.Linear(8, 5)
    classifier = Classifier("0", new.weight.detach(), new.bias.detach(), (Term("0", 8, 1.0, normalised=True),))
    patched = replace_classifier(model, new, layer=classifier)
    torch.testing.assert_close(patched(x), new(nn.functional.normalize(x.flatten(1))))
