"""Of all layers those are found that make the logits, alone or together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
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


class Heads(nn.Module):
    """Heads on features of their own; `join` makes the logits of what they give."""

    def __init__(self, join: Any, widths: tuple[int, ...] = (8, 8), classes: int = 5) -> None:
        super().__init__()
        self.bodies = nn.ModuleList(nn.Linear(4, width) for width in widths)
        self.heads = nn.ModuleList(nn.Linear(width, classes) for width in widths)
        self.join = join

    def forward(self, x: Tensor) -> Any:
        return self.join(*(head(body(x)) for body, head in zip(self.bodies, self.heads, strict=True)))


def check(model: nn.Module, x: Tensor, name: str) -> None:
    """The classifier has this name, and with what it captures of another batch it gives the logits."""
    found = find_classifier(model, x)
    assert found.name == name
    other = torch.randn_like(x)
    with torch.no_grad(), capture(model.eval(), found) as captured:
        logits = model(other)
    prove(captured.features, found.weight, found.bias, logits)


factors = st.floats(0.05, 20).flatmap(lambda size: st.sampled_from([size, -size]))


@settings(max_examples=30)
@given(factors=st.lists(factors, min_size=1, max_size=4), seed=st.integers(0, 1000), rows=st.integers(1, 4))
def test_every_weighted_sum_of_heads_is_found(factors: list[float], seed: int, rows: int) -> None:
    torch.manual_seed(seed)
    widths = (8, 3, 6, 2)[: len(factors)]
    model = Heads(lambda *outputs: sum(c * z for c, z in zip(factors, outputs, strict=True)), widths)
    x = torch.randn(rows, 4)
    check(model, x, "+".join(f"heads.{i}" for i in range(len(factors))))
    found = find_classifier(model, x)
    assert [term.factor for term in found.terms] == torch.tensor(factors).tolist()
    assert [term.width for term in found.terms] == list(widths)


@pytest.mark.parametrize("heads", [2, 3, 8])
def test_a_mean_of_heads_of_zeros_is_found_by_what_they_drive(heads: int) -> None:
    model = Heads(lambda *outputs: torch.stack(outputs).mean(0), (8,) * heads)
    for head in model.heads:
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    found = find_classifier(model, torch.randn(3, 4))
    assert [term.name for term in found.terms] == [f"heads.{i}" for i in range(heads)]
    assert {term.factor for term in found.terms} == {torch.tensor(1 / heads).item()}


def test_more_heads_than_are_tried_are_refused() -> None:
    with pytest.raises(ValueError, match="no layer provably makes"):
        find_classifier(Heads(lambda *outputs: torch.stack(outputs).mean(0), (8,) * 9), torch.randn(3, 4))


@pytest.mark.parametrize(
    "join",
    [
        lambda a, b: a + 0.5 * b.relu(),
        lambda a, b: a * b,
        torch.maximum,
        lambda a, b: torch.where(a[:, :1] > 0, a, b),
        lambda a, b: a + b.flip(1),
        lambda a, b: a + b.mean(0),
    ],
    ids=["relu", "product", "maximum", "gate", "other order", "mean over rows"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_ways_to_join_two_heads_are_refused(join: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, x = Heads(join).to(dtype), torch.randn(32, 4, dtype=dtype)
    with pytest.raises(ValueError, match=r"no layer provably makes .*'heads\.0' Linear \(5, 8\): .*'heads\.1'"):
        find_classifier(model, x)


def test_layers_before_and_beside_the_classifier_are_not_added() -> None:
    class Model(nn.Module):
        """A gate and a body as wide as there are classes."""

        def __init__(self) -> None:
            super().__init__()
            self.squeeze, self.body, self.fc, self.unused = (nn.Linear(5, 5) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            x = self.body(x) * self.squeeze(x).sigmoid()
            self.unused(x)
            logits: Tensor = self.fc(x)
            return logits

    check(Model(), torch.randn(6, 5), "fc")


def test_a_layer_that_holds_another_is_taken_if_it_is_plain_and_else_the_inner_one() -> None:
    class Adapted(nn.Module):
        """Adds a small product to a linear layer, and shows its weight as its own."""

        def __init__(self) -> None:
            super().__init__()
            self.base, self.down, self.up = nn.Linear(8, 5), nn.Linear(8, 2), nn.Linear(2, 5)
            self.weight = self.base.weight

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.base(x) + self.up(self.down(x))
            return logits

    model, x = nn.Sequential(nn.Linear(4, 8), Adapted()), torch.randn(6, 4)
    check(model, x, "1.base+1.up")  # true as well: the input of `up` is features too
    nn.init.zeros_(model[1].up.weight)
    nn.init.zeros_(model[1].up.bias)
    nn.init.zeros_(model[1].base.bias)
    check(model, x, "1")


def test_several_layers_are_named_with_a_plus_in_the_order_of_their_features() -> None:
    model, x = Heads(lambda a, b: (a + b) / 2, (8, 3)), torch.randn(6, 4)
    found = find_classifier(model, x, layer="heads.1+heads.0")
    assert found.name == "heads.1+heads.0"
    assert [term.width for term in found.terms] == [3, 8]
    with torch.no_grad(), capture(model, found) as captured:
        logits = model(x)
        prove(captured.features, found.weight, found.bias, logits)
    with pytest.raises(ValueError, match=r"'heads\.0\+bodies\.0' is not .*: its output is \(6, 8\), expected"):
        find_classifier(model, x, layer="heads.0+bodies.0")
    with pytest.raises(ValueError, match="no layer 'head'"):
        find_classifier(model, x, layer="heads.0+head")


def test_a_refusal_is_one_line_of_bounded_length() -> None:
    model = Heads(lambda *outputs: torch.stack(outputs).amax(0), (8,) * 12)
    model.add_module("x" * 500, nn.Linear(8, 5))
    with pytest.raises(ValueError, match="no layer provably makes") as caught:
        find_classifier(model, torch.randn(6, 4))
    assert len(str(caught.value)) < 800
    assert "\n" not in str(caught.value)


def batch_normalised() -> nn.Module:
    norm = nn.BatchNorm1d(5)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return nn.Sequential(mlp(), norm)


@pytest.mark.parametrize(
    "model",
    [
        Wrapped(mlp(), lambda z: functional.normalize(z)),
        Wrapped(mlp(), lambda z: z.log_softmax(1)),
        Wrapped(mlp(), torch.sigmoid),
        Wrapped(mlp(), functional.relu),
        Wrapped(mlp(), lambda z: z + 1),
        batch_normalised(),
    ],
    ids=["normalised", "log-softmax", "sigmoid", "relu", "offset", "batch-normalised"],
)
@pytest.mark.parametrize("rows", [1, 6])
def test_logits_that_are_not_a_multiple_of_any_output_are_refused(model: nn.Module, rows: int) -> None:
    with pytest.raises(ValueError, match=r"no layer provably makes the model's 5 logits \('.*\(5, 8\)") as caught:
        find_classifier(model, torch.randn(rows, 4))
    assert "\n" not in str(caught.value)
    assert "--layer" in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_temperature_behind_the_layer_belongs_to_the_weight(dtype: torch.dtype) -> None:
    scale = nn.Parameter(torch.tensor(4.6).to(dtype))
    model = Wrapped(mlp(), lambda z: scale.exp() * z).to(dtype)
    found = find_classifier(model, torch.randn(6, 4, dtype=dtype))
    assert found.name == "model.3"
    # Not as measured on these rows: as the model has it, to the last bit.
    assert [term.factor for term in found.terms] == [scale.exp().item()]
    torch.testing.assert_close(found.weight, model.model[3].weight.detach().float() * scale.exp().item())


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "make",
    [
        parametrizations.weight_norm,
        nn.utils.weight_norm,
        parametrizations.spectral_norm,
        nn.utils.spectral_norm,
        lambda layer: nn.Sequential(nn.Dropout(0.5), layer),
        lambda layer: nn.Sequential(nn.LayerNorm(8), layer),
        lambda layer: nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.5), layer),
    ],
    ids=["weight", "old weight", "spectral", "old spectral", "dropout", "layer", "batch and dropout"],
)
def test_linear_heads_of_every_kind(make: Any) -> None:
    model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), make(nn.Linear(8, 5))), torch.randn(6, 4)
    found = find_classifier(model, x)
    with torch.no_grad(), capture(model.eval(), found) as captured:
        logits = model(x)
        prove(captured.features, found.weight, found.bias, logits)


def test_a_linear_layer_fed_with_normalised_features() -> None:
    model = nn.Sequential(Wrapped(nn.Linear(4, 8), lambda z: functional.normalize(z)), nn.Linear(8, 5))
    found = find_classifier(model, torch.randn(6, 4))
    assert (found.name, found.terms[0].normalised) == ("1", False)
    assert torch.equal(found.weight, model[1].weight.detach())
