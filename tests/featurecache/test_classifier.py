"""The classifier layer of any model is found, proved and watched."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from featurecache.classifier import capture, find_classifier, prove


def mlp(width: int = 8, classes: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, classes))


class Wrapped(nn.Module):
    """A model that gives its logits to a function of them before it returns."""

    def __init__(self, model: nn.Module, then: Any) -> None:
        super().__init__()
        self.model = model
        self.then = then

    def forward(self, x: Tensor) -> Any:
        return self.then(self.model(x))


class TwoHeads(nn.Module):
    """Two heads on one feature vector; `join` makes the logits of both."""

    def __init__(self, join: Any, *, equal: bool = False) -> None:
        super().__init__()
        self.body, self.head, self.head_dist = nn.Linear(4, 8), nn.Linear(8, 5), nn.Linear(8, 5)
        self.join = join
        if equal:
            self.head_dist.load_state_dict(self.head.state_dict())

    def forward(self, x: Tensor) -> Any:
        features = self.body(x)
        return self.join(self.head(features), self.head_dist(features))


def test_the_last_layer_is_found_as_float32_copies_on_the_cpu() -> None:
    model, x = mlp().double(), torch.randn(6, 4).double()
    found = find_classifier(model, x)
    assert found.name == "3"
    assert found.weight.dtype == found.bias.dtype == torch.float32
    assert not found.weight.requires_grad
    assert torch.equal(found.weight, model[3].weight.detach().float())
    found.weight.zero_()
    assert model[3].weight.any()


def test_the_training_mode_of_every_module_comes_back() -> None:
    model = mlp().train()
    model[2].eval()
    modes = [module.training for module in model.modules()]
    find_classifier(model, torch.randn(6, 4))
    assert [module.training for module in model.modules()] == modes
    with pytest.raises(RuntimeError, match="mat1"):
        find_classifier(model, torch.randn(6, 7))
    assert [module.training for module in model.modules()] == modes
    assert all(not module._forward_pre_hooks and not module._forward_hooks for module in model.modules())


def test_what_a_model_keeps_from_the_search_can_be_trained_with() -> None:
    class Lazy(nn.Module):
        """Computes a table in its first forward."""

        table: Tensor | None = None

        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            if self.table is None:
                self.table = torch.ones_like(x)
            logits: Tensor = self.fc(x * self.table)
            return logits

    model = Lazy()
    find_classifier(model, torch.randn(2, 4))
    x = torch.randn(2, 4, requires_grad=True)
    model(x).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(
    "then",
    [
        lambda z: (z, None),
        lambda z: {"logits": z, "loss": 0.0},
        lambda z: SimpleNamespace(logits=z),
        lambda z: [z, z * 2],
    ],
)
def test_logits_in_tuples_mappings_and_objects(then: Any) -> None:
    assert find_classifier(Wrapped(mlp(), then), torch.randn(6, 4)).name == "model.3"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_models_of_low_precision(dtype: torch.dtype) -> None:
    model, x = mlp(256, 50).to(dtype), torch.randn(16, 4, dtype=dtype)
    assert find_classifier(model, x).name == "3"


def test_autocast_is_allowed_for() -> None:
    model, x = mlp(256, 50), torch.randn(16, 4)
    with torch.autocast("cpu", torch.bfloat16):
        found = find_classifier(Wrapped(model, Tensor.float), x)
    assert found.name == "model.3"


def test_a_convolution_before_flattening() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 5, 1), nn.Flatten()
    )
    x = torch.randn(2, 3, 9, 9)
    found = find_classifier(model, x)
    assert (found.name, found.weight.shape) == ("4", (5, 8))
    with capture(model, found.name) as captured:
        logits = model(x)
    assert captured.features.shape == (2, 8)
    prove(captured.features, found.weight, found.bias, logits)


def test_a_layer_without_bias_and_a_weight_normed_one() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 5, bias=False))
    assert find_classifier(model, torch.randn(6, 4)).bias.tolist() == [0] * 5
    normed = nn.Sequential(nn.Linear(4, 8), parametrizations.weight_norm(nn.Linear(8, 5)))
    normed[1].parametrizations.weight.original0.data.mul_(3)
    found = find_classifier(normed, torch.randn(6, 4))
    assert torch.equal(found.weight, normed[1].weight.detach())


def test_wrappers_keep_their_prefix_and_a_bare_layer_has_no_name() -> None:
    assert find_classifier(nn.DataParallel(mlp()), torch.randn(6, 4)).name == "module.3"
    assert find_classifier(nn.Linear(4, 3), torch.randn(6, 4)).name == ""


def test_of_two_true_answers_the_last_executed_is_taken() -> None:
    identity = nn.Linear(5, 5)
    nn.init.eye_(identity.weight)
    nn.init.zeros_(identity.bias)
    model = nn.Sequential(mlp(), identity)
    x = torch.randn(6, 4)
    assert find_classifier(model, x).name == "1"
    assert find_classifier(model, x, layer="0.3").name == "0.3"


@pytest.mark.parametrize("equal", [False, True])
def test_heads_that_are_averaged_are_one_classifier_of_both_inputs(equal: bool) -> None:
    def average(a: Tensor, b: Tensor) -> Tensor:
        return (a + b) / 2

    model, x = TwoHeads(average, equal=equal), torch.randn(6, 4)
    found = find_classifier(model, x)
    assert found.name == "head+head_dist"
    assert torch.equal(found.weight, torch.cat([model.head.weight, model.head_dist.weight], 1).detach() / 2)
    assert [(term.width, term.factor) for term in found.terms] == [(8, 0.5), (8, 0.5)]
    with capture(model, found) as captured:
        logits = model(x)
    prove(captured.features, found.weight, found.bias, logits)
    with pytest.raises(ValueError, match="'head' is not the model's classifier: something else is added"):
        find_classifier(model, x, layer="head")


def test_an_unused_copy_of_the_head_is_not_taken() -> None:
    def first(a: Tensor, _b: Tensor) -> Tensor:
        return a

    model = TwoHeads(first, equal=True)
    assert find_classifier(model, torch.randn(6, 4)).name == "head"
    with pytest.raises(ValueError, match="'head_dist' is not the model's classifier: its output equals"):
        find_classifier(model, torch.randn(6, 4), layer="head_dist")


def test_a_head_of_zeros_is_proved_by_what_it_drives() -> None:
    model = mlp()
    nn.init.zeros_(model[3].weight)
    nn.init.zeros_(model[3].bias)
    assert find_classifier(model, torch.randn(6, 4)).name == "3"


@pytest.mark.parametrize("example", [(torch.ones(6, 4), 2.0), {"x": torch.ones(6, 4), "times": 2.0}])
def test_models_of_several_inputs(example: Any) -> None:
    class Two(nn.Module):
        """Takes a tensor and a number."""

        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x: Tensor, times: float) -> Tensor:
            logits: Tensor = self.fc(times * x)
            return logits

    assert find_classifier(Two(), example).name == "fc"


def test_compiled_models_are_searched_and_captured() -> None:
    plain, x = mlp().eval(), torch.randn(6, 4)
    model = torch.compile(plain, backend="eager")
    found = find_classifier(model, x)
    assert found.name == "_orig_mod.3"
    assert find_classifier(model, x, layer="3").name == "3"
    for name in (found, "3"):
        with torch.no_grad(), capture(model, name) as captured:
            model(x)
            assert torch.equal(captured.features, plain[:3](x))


def test_a_model_without_linear_layers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"it has no nn\.Linear or 1x1"):
        find_classifier(nn.Sequential(nn.Flatten(), nn.ReLU()), torch.randn(6, 4))


def test_a_layer_called_twice_is_refused_with_the_reason() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model.append(model[0])
    with pytest.raises(ValueError, match="called 2 times in one forward"):
        find_classifier(model, torch.randn(6, 4))


def test_logits_for_each_token_that_are_averaged_are_refused_by_shape() -> None:
    model = Wrapped(nn.Linear(4, 5), lambda z: z.mean(1))
    with pytest.raises(ValueError, match=r"its input is \(6, 3, 4\), expected one vector a row"):
        find_classifier(model, torch.randn(6, 3, 4))


def test_logits_that_are_not_finite_are_refused() -> None:
    model = mlp()
    nn.init.constant_(model[3].bias, torch.nan)
    with pytest.raises(ValueError, match="not finite in 6 of 6 rows"):
        find_classifier(model, torch.randn(6, 4))


def test_a_named_layer_is_proved_or_refused_by_how_much_it_misses() -> None:
    model, x = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5)), torch.randn(6, 4)
    assert find_classifier(model, x, layer="2").name == "2"
    with pytest.raises(ValueError, match=r"layer '0' is not the model's classifier: .*misses the logits by [0-9.]+,"):
        find_classifier(model, x, layer="0")
    with pytest.raises(ValueError, match="'1' is not the model's classifier: it is ReLU without a weight"):
        find_classifier(model, x, layer="1")
    with pytest.raises(ValueError, match="no layer 'head'"):
        find_classifier(model, x, layer="head")


def test_a_layer_of_another_type_is_proved() -> None:
    class Own(nn.Module):
        """A linear layer that is no nn.Linear."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 4))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight.T

    model, x = nn.Sequential(nn.ReLU(), Own()), torch.randn(6, 4)
    assert find_classifier(model, x).name == "1"
    assert find_classifier(model, x, layer="1").weight.shape == (5, 4)
