"""What a layer computes is told from its numbers: products and cosines of every kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import normalize

from featurecache.classifier import capture, find_classifier, prove
from featurecache.classifying.formulas import formula_of, normalised


class Head(nn.Module):
    """`compute(x, matrix)` times a scale, which is a number or a parameter, or its logarithm is one."""

    def __init__(self, compute: Callable[[Tensor, Tensor], Tensor], matrix: Tensor, scale: float | Tensor = 1) -> None:
        super().__init__()
        self.compute = compute
        self.kernel = nn.Parameter(matrix)
        if isinstance(scale, Tensor):
            self.log_scale = nn.Parameter(scale)
        else:
            self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        scale = self.log_scale.exp() if "log_scale" in self._parameters else self.scale
        return scale * self.compute(x, self.kernel)


class Cosine(nn.Linear):
    """Normalised features against normalised weights; its bias is there and not used."""

    def forward(self, input: Tensor) -> Tensor:
        return 16 * functional.linear(normalize(input), normalize(self.weight))


def columns(x: Tensor, matrix: Tensor) -> Tensor:
    """The cosine with the columns of a matrix (D, K)."""
    return normalize(x) @ normalize(matrix, dim=0)


def rows(x: Tensor, matrix: Tensor) -> Tensor:
    """The cosine with the rows of a matrix (K, D)."""
    return normalize(x) @ normalize(matrix).T


@settings(max_examples=30)
@given(
    classes=st.integers(2, 12),
    width=st.integers(2, 40),
    scale=st.sampled_from([1, 16.0, 64, 0.05, torch.tensor(3.2)]),
    seed=st.integers(0, 1000),
)
def test_cosine_heads_are_proved_with_unit_features(classes: int, width: int, scale: float | Tensor, seed: int) -> None:
    torch.manual_seed(seed)
    for compute, shape in ((rows, (classes, width)), (columns, (width, classes))):
        body, head = nn.Linear(4, width), Head(compute, torch.randn(shape), scale)
        model, x = nn.Sequential(body, head), torch.randn(5, 4)
        found = find_classifier(model, x)
        assert (found.name, found.terms[0].normalised, found.bias.any().item()) == ("1", True, False)
        with torch.no_grad(), capture(model, found) as captured:
            logits = model(x)
        prove(captured.features, found.weight, found.bias, logits)
        torch.testing.assert_close(captured.features.norm(dim=1), torch.ones(5))
        size = scale.exp().item() if isinstance(scale, Tensor) else scale
        torch.testing.assert_close(found.weight.norm(dim=1), torch.full((classes,), float(size)))


@pytest.mark.parametrize("scale", [16.0, torch.tensor(3.2), torch.tensor([3.2])])
def test_the_weight_does_not_depend_on_the_rows_it_was_measured_on(scale: float | Tensor) -> None:
    model = nn.Sequential(nn.Linear(4, 8), Head(rows, torch.randn(5, 8), scale))
    first, second = (find_classifier(model, torch.randn(n, 4)).weight for n in (3, 50))
    assert torch.equal(first, second)


def test_a_scale_behind_the_head_is_its_factor() -> None:
    class Model(nn.Module):
        """A temperature of its own on a cosine head."""

        def __init__(self) -> None:
            super().__init__()
            self.head, self.log_temperature = Head(columns, torch.randn(4, 5)), nn.Parameter(torch.tensor(2.0))

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(x) * self.log_temperature.exp()
            return logits

    model = Model()
    (term,) = find_classifier(model, torch.randn(6, 4)).terms
    assert (term.name, term.factor, term.normalised) == ("head", model.log_temperature.exp().item(), True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_linear_layer_made_a_cosine_is_told_from_a_plain_one(dtype: torch.dtype) -> None:
    model, x = nn.Sequential(nn.Linear(4, 64), Cosine(64, 5)).to(dtype), torch.randn(6, 4, dtype=dtype)
    found = find_classifier(model, x)
    assert found.terms[0].normalised
    assert not found.bias.any()
    # In half precision the scale is measured to some units in the last place, and not always told to be 16 exactly.
    close = 1.3e-6 if dtype == torch.float32 else 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.weight, 16 * normalize(model[1].weight.detach().float()), rtol=close, atol=1e-5)


@pytest.mark.parametrize(
    ("compute", "over_length"),
    [
        (lambda x, w: x @ w.T, False),
        (lambda x, w: x @ normalize(w).T, False),
        (lambda x, w: normalize(x) @ w.T, True),
        (lambda x, w: 3 * normalize(x) @ w.T, True),
    ],
    ids=["plain", "directions", "unit features", "scaled unit features"],
)
def test_only_one_side_may_be_normalised(compute: Callable[[Tensor, Tensor], Tensor], over_length: bool) -> None:
    head, x = Head(compute, torch.randn(5, 8)), torch.randn(6, 8)
    formula = formula_of(head, x, head(x).detach())
    assert formula.normalised == over_length
    features = normalised(x) if over_length else x
    prove(features, formula.weight, formula.bias, head(x).detach())


@pytest.mark.parametrize("compute", [rows, columns])
def test_a_square_matrix_is_read_the_right_way_round(compute: Callable[[Tensor, Tensor], Tensor]) -> None:
    head, x = Head(compute, torch.randn(5, 5)), torch.randn(6, 5)
    formula = formula_of(head, x, head(x).detach())
    prove(normalised(x), formula.weight, formula.bias, head(x).detach())


@pytest.mark.parametrize(
    "compute",
    [
        lambda x, w: (x @ w.T).relu(),
        lambda x, w: -torch.cdist(x, w),
        lambda x, w: x.softmax(1) @ w.T,
        lambda x, w: rows(x, w) ** 2,
        lambda x, w: normalize(x - x.mean(1, keepdim=True)) @ w.T,
    ],
    ids=["relu", "distance", "softmax", "squared cosine", "centred"],
)
def test_other_formulas_are_refused(compute: Callable[[Tensor, Tensor], Tensor]) -> None:
    head, x = Head(compute, torch.randn(5, 8)), torch.randn(6, 8)
    with pytest.raises(ValueError, match="without a weight"):
        formula_of(head, x, head(x).detach())


def test_a_plain_layer_that_adds_something_misses_its_output() -> None:
    layer, x = nn.Linear(8, 5), torch.randn(6, 8)
    with pytest.raises(ValueError, match="misses its output by"):
        formula_of(layer, x, layer(x).detach() + 1)


@pytest.mark.parametrize("value", [torch.inf, torch.nan, 0.0, 1e-40])
def test_outputs_without_a_scale_are_refused(value: float) -> None:
    head, x = Head(rows, torch.randn(5, 8)), torch.randn(6, 8)
    output = torch.zeros(6, 5)
    output[0, 0] = value
    if value == 0:  # no scale can be told, and none gives zeros
        output[1, 1] = 1
    with pytest.raises(ValueError, match="without a weight"):
        formula_of(head, x, output)


def test_rows_are_normalised_in_their_own_dtype_and_zeros_stay() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        x = torch.tensor([[300.0, 400.0], [0.0, 0.0]], dtype=dtype)  # whose squares float16 cannot hold
        torch.testing.assert_close(normalised(x), torch.tensor([[0.6, 0.8], [0, 0]], dtype=dtype))
