"""Layers that may be a classifier, as they are found in any model: their names, shapes, weights and inputs.

A linear layer is an nn.Linear or a 1x1 nn.Conv2d; any other layer that holds a matrix of its own may be one too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from featurecache.quoting import shown

JOIN = "+"  # between the names of layers whose outputs are added
LISTED = 6  # layers named in a message: enough to choose from, short enough for one line


def linear_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every nn.Linear and 1x1 nn.Conv2d of the model with its name."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and _is_pointwise(module)):
            yield name, module


def matrix_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module of the model that may be a classifier, with its name: it has a matrix of its own."""
    linear = {id(module) for _, module in linear_layers(model)}
    for name, module in model.named_modules():
        if id(module) in linear or next(_own_matrices(module), None) is not None:
            yield name, module


def matrices_of(layer: nn.Module, classes: int, width: int) -> Iterator[Tensor]:
    """The layer's own matrices (K, D), detached; those that are (D, K) transposed.

    classes, width: K and D.
    """
    for matrix in _own_matrices(layer):
        if matrix.shape == (classes, width):
            yield matrix
        if matrix.shape == (width, classes):
            yield matrix.T


def shape_of(layer: nn.Module) -> tuple[int, int] | None:
    """(K, D) of a layer that has them: from its in_features and out_features, else from its weight."""
    if isinstance(layer, nn.Conv2d):
        return (layer.out_channels, layer.in_channels) if _is_pointwise(layer) else None
    classes, width = getattr(layer, "out_features", None), getattr(layer, "in_features", None)
    if isinstance(classes, int) and isinstance(width, int):
        return classes, width
    weight = getattr(layer, "weight", None)
    return (weight.shape[0], weight.shape[1]) if isinstance(weight, Tensor) and weight.ndim == 2 else None


def parameters_of(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """The weight (K, D) and bias (K,) of a layer, detached; zeros where it has no bias.

    They are read as attributes, so that a parametrised (weight-normed) layer gives what it computes with.

    Raises ValueError for a layer without a weight (K, D).
    """
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    if shape_of(layer) is None or not isinstance(weight, Tensor):
        raise ValueError(f"it is {described(layer)} without a weight (K, D)")
    weight = weight.detach().flatten(1)
    return weight, bias.detach() if isinstance(bias, Tensor) else weight.new_zeros(len(weight))


def layer_named(model: nn.Module, name: str) -> nn.Module:
    """The layer called ``name``; ValueError with the linear layers there are."""
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise ValueError(f"the model has no layer {shown(name)}; {listing(linear_layers(model))}") from None


def layers_named(model: nn.Module, names: str) -> list[tuple[str, nn.Module]]:
    """The layers called ``names``, each with its own: one, or several joined by "+"; ValueError for an unknown one."""
    parts = [names] if JOIN not in names or names in dict(model.named_modules()) else names.split(JOIN)
    return [(name, layer_named(model, name)) for name in parts]


def input_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The first argument of a layer as the layer computes with it; of a large one only the shape."""
    given = next(iter((*args, *kwargs.values())), None)
    if not isinstance(given, Tensor):
        return torch.empty(0, device="meta")
    if not is_rows(given):
        return torch.empty(given.shape, device="meta")
    kind = given.device.type
    if given.is_floating_point() and given.dtype != torch.float64 and torch.is_autocast_enabled(kind):
        given = given.to(torch.get_autocast_dtype(kind))  # as the layer will, before it multiplies
    return given.detach().clone()  # no later in-place operation reaches it


def rows_of(value: Tensor) -> Tensor:
    """The layer's input (B, D), (B, 1, D) or (B, D, 1, 1) as (B, D); ValueError for any other shape."""
    if value.is_meta or not is_rows(value):
        raise ValueError(f"its input is {tuple(value.shape)}, expected one vector a row: (B, D) or (B, D, 1, 1)")
    return value.flatten(1)


def is_rows(value: Tensor) -> bool:
    """Whether the tensor is one vector a row: (B, D), (B, 1, D) or (B, D, 1, 1)."""
    return value.ndim >= 2 and value.numel() == value.shape[0] * max(value.shape[1:])


def listing(layers: Iterable[tuple[str, nn.Module]]) -> str:
    """The last of the layers with their shapes, for a message: a classifier is near the end."""
    found = [f"{shown(name)} {described(layer)}" for name, layer in layers]
    if not found:
        return "it has no nn.Linear or 1x1 nn.Conv2d"
    return f"its last linear layers are {', '.join(found[-LISTED:])}"


def described(layer: nn.Module) -> str:
    """The layer's type and shape (K, D), for a message."""
    shape = shape_of(layer)
    return type(layer).__name__[:80] + (f" {shape}" if shape else "")


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == (1, 1) and conv.groups == 1 and conv.padding in ((0, 0), "valid", "same")


def _own_matrices(layer: nn.Module) -> Iterator[Tensor]:
    """The floating tensors of two axes that the layer itself holds; first its weight, which it may compute."""
    weight = getattr(layer, "weight", None)
    own = (weight, *layer.parameters(recurse=False), *layer.buffers(recurse=False))
    seen: list[Tensor] = []
    for value in own:
        known = any(value is other for other in seen)
        if isinstance(value, Tensor) and value.ndim == 2 and value.is_floating_point() and not known:
            seen.append(value)
            yield value.detach()
