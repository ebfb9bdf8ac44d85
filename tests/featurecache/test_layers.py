"""Linear layers in any model: names, shapes, weights, inputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from featurecache.layers import (
    input_of,
    is_rows,
    layer_named,
    layers_named,
    linear_layers,
    listing,
    matrices_of,
    matrix_layers,
    parameters_of,
    rows_of,
    shape_of,
)


def test_only_linear_and_pointwise_layers_are_listed() -> None:
    model = nn.ModuleDict(
        {
            "linear": nn.Linear(4, 3),
            "pointwise": nn.Conv2d(4, 3, 1),
            "wide": nn.Conv2d(4, 3, 3),
            "grouped": nn.Conv2d(4, 4, 1, groups=2),
            "padded": nn.Conv2d(4, 3, 1, padding=1),
            "norm": nn.LayerNorm(4),
        }
    )
    assert [name for name, _ in linear_layers(model)] == ["linear", "pointwise"]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(4, 3), (3, 4)),
        (nn.Conv2d(4, 3, 1), (3, 4)),
        (nn.Conv2d(4, 3, 3), None),
        (nn.Embedding(7, 5), (7, 5)),
        (nn.BatchNorm1d(4), None),
        (nn.ReLU(), None),
    ],
)
def test_shapes_are_those_of_classifiers(layer: nn.Module, shape: tuple[int, int] | None) -> None:
    assert shape_of(layer) == shape


def test_a_parametrised_weight_is_the_one_that_is_computed_with() -> None:
    layer = parametrizations.weight_norm(nn.Linear(4, 3))
    layer.parametrizations.weight.original0.data.mul_(2)
    weight, bias = parameters_of(layer)
    x = torch.randn(2, 4)
    torch.testing.assert_close(x @ weight.T + bias, layer(x).detach())


def test_a_layer_without_bias_has_zeros() -> None:
    weight, bias = parameters_of(nn.Conv2d(4, 3, 1, bias=False))
    assert weight.shape == (3, 4)
    assert bias.tolist() == [0, 0, 0]
    assert not weight.requires_grad


def test_a_layer_without_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="ReLU without a weight"):
        parameters_of(nn.ReLU())


def test_an_unknown_layer_is_refused_with_those_there_are() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    assert layer_named(model, "0") is model[0]
    assert layer_named(model, "") is model
    with pytest.raises(ValueError, match=r"no layer 'fc'; its last linear layers are '0' Linear \(3, 4\)"):
        layer_named(model, "fc")
    with pytest.raises(ValueError, match=r"it has no nn\.Linear"):
        layer_named(nn.ReLU(), "fc")


def test_a_listing_names_the_last_layers_only() -> None:
    text = listing(linear_layers(nn.Sequential(*[nn.Linear(1, 1) for _ in range(50)])))
    assert "'49'" in text
    assert "'10'" not in text


def test_inputs_become_rows_and_outlive_in_place_operations() -> None:
    for shape in [(2, 5), (2, 1, 5), (2, 5, 1, 1), (2, 1)]:
        x = torch.randn(shape)
        kept = input_of((x,), {})
        expected = x.flatten(1).clone()
        x.zero_()
        assert torch.equal(rows_of(kept), expected)
    assert input_of((), {"input": torch.ones(2, 5)}).shape == (2, 5)


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 5, 7, 7), (5,)])
def test_an_input_of_many_vectors_a_row_is_only_remembered_by_shape(shape: tuple[int, ...]) -> None:
    kept = input_of((torch.ones(shape),), {})
    assert kept.is_meta
    with pytest.raises(ValueError, match="expected one vector a row"):
        rows_of(kept)


def test_a_layer_without_tensor_input_has_no_rows() -> None:
    with pytest.raises(ValueError, match="expected one vector a row"):
        rows_of(input_of(("text",), {}))


def test_under_autocast_the_input_is_what_the_layer_multiplies() -> None:
    x = torch.randn(2, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(input_of((x,), {}), x.bfloat16())
        assert input_of((x.double(),), {}).dtype == torch.float64
    assert input_of((x,), {}).dtype == torch.float32


def test_layers_with_a_matrix_of_their_own_may_be_classifiers() -> None:
    buffered = nn.Module()
    buffered.register_buffer("prototypes", torch.ones(3, 4))
    model = nn.ModuleDict(
        {
            "linear": nn.Linear(4, 3),
            "normed": parametrizations.weight_norm(nn.Linear(4, 3)),
            "pointwise": nn.Conv2d(4, 3, 1),
            "embedding": nn.Embedding(4, 3),
            "buffered": buffered,
            "conv": nn.Conv2d(4, 3, 3),
            "norm": nn.BatchNorm1d(4),
            "bilinear": nn.Bilinear(2, 2, 2),
        }
    )
    names = [name for name, _ in matrix_layers(model) if "parametrizations" not in name]
    assert names == ["linear", "normed", "pointwise", "embedding", "buffered"]


def test_matrices_come_with_a_row_a_class() -> None:
    layer = nn.Module()
    layer.rows, layer.columns = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(4, 3))
    layer.others = nn.Parameter(torch.randn(4, 4))
    first, second = matrices_of(layer, 3, 4)
    assert torch.equal(first, layer.rows.detach())
    assert torch.equal(second, layer.columns.detach().T)
    assert len(list(matrices_of(layer, 4, 4))) == 2  # one matrix, either way round
    assert [matrix.requires_grad for matrix in (first, second)] == [False, False]


def test_several_layers_are_named_with_a_plus() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    assert layers_named(model, "1+0") == [("1", model[1]), ("0", model[0])]
    model.add_module("a+b", nn.Linear(2, 2))
    assert layers_named(model, "a+b") == [("a+b", model.get_submodule("a+b"))]
    with pytest.raises(ValueError, match="no layer '2'"):
        layers_named(nn.Sequential(*model[:2]), "0+2")


@pytest.mark.parametrize(
    ("shape", "rows"),
    [((2, 5), True), ((2, 1, 5), True), ((2, 5, 1, 1), True), ((2, 3, 5), False), ((2, 5, 2, 2), False), ((5,), False)],
)
def test_one_vector_a_row(shape: tuple[int, ...], rows: bool) -> None:
    assert is_rows(torch.ones(shape)) == rows
