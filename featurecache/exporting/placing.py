"""A new classifier for a state dict: the layers it belongs to, and tensors like those that it replaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from featurecache.classifying.terms import Term
from featurecache.exporting.finding import (
    ANOTHER,
    bias_name,
    digest_of,
    found_layer,
    joined_names,
    listed,
    weight_name,
)
from featurecache.exporting.shares import joined, read_terms, shared
from featurecache.quoting import shown


@dataclass(frozen=True, eq=False)
class NewClassifier:
    """What is to be written.

    weight: (K, D), finite.
    bias: (K,), finite, or None for zeros.
    layer: the classifier's name, which the weights must have; or None.
    recorded: the name that it had in the model; where the weights have no such layer, it is found by its shape.
    expected: digest of the classifier that must be there now, or None.
    terms: the layers it is made of, as a head remembers them; empty for one plain layer.
    """

    weight: Tensor
    bias: Tensor | None
    layer: str | None
    recorded: str | None
    expected: str | None
    terms: Sequence[Mapping[str, Any]]


def placed(state: Mapping[str, Tensor], new: NewClassifier) -> tuple[str, dict[str, Tensor]]:
    """The layer's name among the weights (several are joined by "+"), and its new tensors by their names.

    state: a state dict.
    Raises ValueError where the weights have no place for the new classifier, or hold another than expected.
    """
    classes, width = _checked(new.weight, new.bias)
    terms = read_terms(new.terms, width)
    if terms:
        together = joined_names([term.name for term in terms])
        if new.layer not in (None, together):
            raise ValueError(
                f"the classifier is made of {shown(together)} and not of {shown(new.layer)}; leave --layer out"
            )
        names = [found_layer(state, term.name, None, (classes, term.width), None) for term in terms]
    else:
        names = [found_layer(state, new.layer, new.recorded, (classes, width), new.expected)]
        terms = (Term(names[0], width),)
    for name, term in zip(names, terms, strict=True):
        _check_shapes(state, name, (classes, term.width))
    said = shown(joined_names(names))
    _check_expected(state, names, terms, new.expected, said)
    biased = [bias_name(name) in state for name in names]
    if not any(biased) and new.bias is not None and bool(new.bias.any()):
        raise ValueError(
            f"layer {said} has no bias and the head has one; expected a head without a bias: write the head by itself "
            "(--module)"
        )
    tensors: dict[str, Tensor] = {}
    for name, has_bias, (weight, bias) in zip(names, biased, shared(new.weight, new.bias, terms, biased), strict=True):
        tensors[weight_name(name)] = _stored_like(state, weight_name(name), weight)
        if has_bias:
            tensors[bias_name(name)] = _stored_like(state, bias_name(name), bias)
    return joined_names(names), tensors


def held(state: Mapping[str, Tensor], layer: str, terms: Sequence[Mapping[str, Any]]) -> tuple[Tensor, Tensor | None]:
    """The weight (K, D) and bias (K,) that a state dict holds; None for the bias where it has none.

    state: a state dict.
    layer: the classifier's name.
    terms: the layers it is made of, as a head remembers them; empty for one plain layer.
    Raises ValueError where there is no such layer, or it is no classifier.
    """
    parts = read_terms(terms) or (Term(layer, 0),)
    names = [found_layer(state, part.name, None, None, None) for part in parts]
    layers = [_layer(state, name) for name in names]
    for name, (weight, bias) in zip(names, layers, strict=True):
        if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
            shapes = tuple(weight.shape), None if bias is None else tuple(bias.shape)
            raise ValueError(f"layer {shown(name)} is {shapes[0]} and {shapes[1]}, expected (K, D) and (K,)")
    if {len(weight) for weight, _ in layers} != {len(layers[0][0])}:
        raise ValueError(f"layers {shown(joined_names(names))} have different numbers of classes")
    weight, bias = joined(layers, parts)
    return weight, None if all(bias is None for _, bias in layers) else bias


def _checked(weight: Tensor, bias: Tensor | None) -> tuple[int, int]:
    """(K, D) of the head."""
    if weight.ndim != 2 or (bias is not None and tuple(bias.shape) != (len(weight),)):
        shapes = tuple(weight.shape), None if bias is None else tuple(bias.shape)
        raise ValueError(f"the head's weight and bias are {shapes[0]} and {shapes[1]}, expected (K, D) and (K,)")
    if not all(bool(torch.isfinite(value).all()) for value in (weight, bias) if value is not None):
        raise ValueError("the head has values that are not finite")
    return weight.shape[0], weight.shape[1]


def _check_shapes(state: Mapping[str, Tensor], name: str, shape: tuple[int, int]) -> None:
    stored = tuple(state[weight_name(name)].shape)
    classes = shape[0]
    if stored not in (shape, (*shape, 1, 1)):
        if stored[1:] in (shape[1:], (*shape[1:], 1, 1)):
            raise ValueError(
                f"checkpoint of other classes: its classifier {shown(name)} has {stored[0]}, the head "
                f"{'fewer' if classes < stored[0] else 'more'}, {classes}; expected the checkpoint that the features "
                "came from"
            )
        raise ValueError(f"{ANOTHER}: {shown(weight_name(name))} is {stored}, the head (K, D) = {shape}")
    bias = state.get(bias_name(name))
    if bias is not None and tuple(bias.shape) != (classes,):
        raise ValueError(f"{ANOTHER}: {shown(bias_name(name))} is {tuple(bias.shape)}, the head's ({classes},)")


def _check_expected(
    state: Mapping[str, Tensor], names: Sequence[str], terms: Sequence[Term], expected: str | None, said: str
) -> None:
    if expected is not None and digest_of(*joined([_layer(state, name) for name in names], terms)) != expected:
        raise ValueError(
            f"layer {said} is another classifier than the one the features were extracted with; "
            "expected the checkpoint that the features came from"
        )


def _layer(state: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor | None]:
    """The layer's weight, its places left out, and bias."""
    weight = state[weight_name(name)]
    return weight.flatten(1) if weight.ndim == 4 and weight.shape[2:] == (1, 1) else weight, state.get(bias_name(name))


def _stored_like(state: Mapping[str, Tensor], name: str, value: Tensor) -> Tensor:
    """The value in the dtype and shape of the tensor that it replaces."""
    old = state[name]
    if not old.is_floating_point():
        raise ValueError(f"{shown(name)} is stored as {old.dtype}, expected floats")
    tied = [other for other, tensor in state.items() if other != name and tensor.data_ptr() == old.data_ptr()]
    if tied and old.numel():
        # Loading such a file into its model writes both names into one parameter.
        raise ValueError(f"{shown(name)} is tied to {listed(tied)}: expected a classifier with weights of its own")
    value = value.detach().cpu()
    limit, largest = torch.finfo(old.dtype).max, float(value.abs().max()) if value.numel() else 0.0
    if largest > limit:
        raise ValueError(f"{shown(name)} is stored as {old.dtype} up to {limit:g}, the head holds {largest:g}")
    cast = value.to(old.dtype).reshape(old.shape).contiguous()
    return torch.nn.Parameter(cast, old.requires_grad) if isinstance(old, torch.nn.Parameter) else cast
