"""The model with another classifier."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from featurecache.classifying.formulas import normalised
from featurecache.classifying.terms import Classifier
from featurecache.layers import LISTED, described, layer_named, layers_named, linear_layers, listing, shape_of
from featurecache.quoting import shown

WRAPPERS = ("module", "_orig_mod")  # of DataParallel and DistributedDataParallel; of torch.compile


class NormalisedLinear(nn.Linear):
    """A linear layer that divides every row of its input by its length."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(normalised(input))


def replace_classifier(model: nn.Module, module: nn.Module, *, layer: Classifier | str | None = None) -> nn.Module:
    """A deep copy of the model in which a copy of ``module`` is the classifier; the original is untouched.

    The new layer takes the device, dtype and training mode of the old one, and its parameters require
    gradients. A weight that the old layer shared with another (tied embeddings) is not tied any more: the
    other keeps its values, as a new classifier must not change the embedding. A 1x1 convolution is replaced
    by one with the same weights.

    Where several layers are added, where a factor stands behind a layer, or where it normalises its input, ``layer``
    has to be what `find_classifier` gave, and the new classifier an nn.Linear for those features: it is divided among
    the layers, so that the copy's logits are features @ weight.T + bias.

    model: any module with a classifier.
    module: an nn.Linear (D, K), or any module from (B, D) to (B, K), with in_features and out_features if it has them.
    layer: the classifier, or just its name as in ``model.named_modules()``, with or without what wrappers such as
        DataParallel put before it; None: the one linear layer of that shape, taken as it is.

    Raises ValueError where no layer fits, or two do, where the new values do not fit the old layer's dtype, or where
    the model cannot be copied.
    """
    _check_types(model, module, layer)
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError("a TorchScript program cannot be given another layer; expected the nn.Module it was made from")
    if isinstance(layer, Classifier):
        (term, *more) = layer.layers
        if more or term.factor != 1 or term.normalised:
            return _with(model, _shares(module, layer))
        layer = term.name
    shape = shape_of(module)
    name = _layer_of_shape(model, shape) if layer is None else _own_name(model, layer)
    if len(layers_named(model, name)) > 1:
        raise ValueError(
            f"{shown(name)} names several layers: pass layer=find_classifier(model, example), of "
            "featurecache.classifier, which knows their factors"
        )
    old = layer_named(model, name)
    if shape_of(old) is None or shape not in (None, shape_of(old)):
        raise ValueError(
            f"layer {shown(name)} is {described(old)} and the new classifier {described(module)}: "
            "expected layers of equal (K, D)"
        )
    return _with(model, {name: copy.deepcopy(module)})


def _check_types(model: object, module: object, layer: object) -> None:
    for each in (model, module):
        if not isinstance(each, nn.Module):
            hint = "; of a head give head.to_module()" if hasattr(each, "to_module") else ""
            raise ValueError(f"{type(each).__name__} is no nn.Module; expected a model and its new classifier{hint}")
    if not (layer is None or isinstance(layer, Classifier | str)):
        raise ValueError(f"layer is a {type(layer).__name__}; expected a name, or what find_classifier gave")


def _with(model: nn.Module, new: dict[str, nn.Module]) -> nn.Module:
    """A deep copy of the model with other layers under these names."""
    olds = {name: layer_named(model, _own_name(model, name)) for name in new}
    placed = {name: _placed(new[name], old) for name, old in olds.items()}
    # What the memo already knows is not copied: wherever an old layer was, the copy of the model holds the new one.
    memo: dict[int, Any] = {id(value): value.detach().clone() for value in _computed(model)}
    memo |= {id(old): placed[name] for name, old in olds.items()}
    try:
        copied: nn.Module = copy.deepcopy(model, memo)
    except Exception as error:  # whatever an object of the user's says
        reason = str(error).partition(". ")[0]
        raise ValueError(
            f"the model cannot be copied ({type(error).__name__}: {shown(reason)}); expected one that copy.deepcopy "
            "copies: leave out what it holds beside its layers"
        ) from error
    if any(layer_named(copied, _own_name(model, name)) is not made for name, made in placed.items()):
        kind = type(model).__name__[:80]
        raise ValueError(f"a copy of this {kind} keeps its old layers; expected the plain nn.Module it was made from")
    return copied


def _computed(model: nn.Module) -> Iterator[Tensor]:
    """What lies in the model's layers as a result of computing with gradients; copy.deepcopy refuses it.

    Such is the weight that torch.nn.utils.weight_norm leaves in its layer: the next forward computes it anew.
    """
    for module in model.modules():
        for value in (*vars(module).values(), *module.buffers(recurse=False)):
            if isinstance(value, Tensor) and not value.is_leaf:
                yield value


def _own_name(model: nn.Module, name: str) -> str:
    """The layer's name in this model, whose wrappers may be others than when the name was taken."""
    names = dict(model.named_modules())
    if name in names:
        return name
    behind = [own for own in names if _unwrapped(own) == _unwrapped(name)]
    return behind[0] if len(behind) == 1 else name


def _unwrapped(name: str) -> str:
    """The name without what wrappers put before it."""
    first, _, rest = name.partition(".")
    return _unwrapped(rest) if first in WRAPPERS else name


def _shares(module: nn.Module, classifier: Classifier) -> dict[str, nn.Module]:
    """Each layer's share of a linear classifier, by its name: what its factor makes of it adds up to the whole."""
    if not isinstance(module, nn.Linear) or module.weight.shape != classifier.weight.shape:
        raise ValueError(
            f"the classifier {shown(classifier.name)} is made of {len(classifier.layers)} layer(s) with factors and "
            f"widths {_factors(classifier)}, and the new one is {described(module)}: expected an nn.Linear of "
            f"(K, D) = {tuple(classifier.weight.shape)}, which can be divided among them"
        )
    weight, parts = module.weight.detach().double(), classifier.layers
    shares: dict[str, nn.Module] = {}
    for term, columns in zip(parts, torch.split(weight, [term.width for term in parts], 1), strict=True):
        kind = NormalisedLinear if term.normalised else nn.Linear
        share = kind(term.width, len(weight), bias=module.bias is not None, dtype=torch.float64)
        with torch.no_grad():
            share.weight.copy_(columns / term.factor)
            if module.bias is not None:
                share.bias.copy_(module.bias.detach().double() / (len(parts) * term.factor))
        shares[term.name] = share
    return shares


def _factors(classifier: Classifier) -> str:
    said = [f"{term.factor:.4g} ({term.width}{', normalised' * term.normalised})" for term in classifier.layers]
    return ", ".join(said[:LISTED])


def _layer_of_shape(model: nn.Module, shape: tuple[int, int] | None) -> str:
    """The name of the one linear layer of this shape."""
    if shape is None:
        raise ValueError("the new classifier has no in_features and out_features to find its layer by; pass layer=")
    fitting = [name for name, module in linear_layers(model) if shape_of(module) == shape]
    if len(fitting) > 1:
        names = ", ".join(shown(name) for name in fitting[-LISTED:])
        raise ValueError(f"{len(fitting)} layers are (K, D) = {shape}: {names}; pass layer= with the classifier's name")
    if not fitting:
        raise ValueError(f"the model has no layer (K, D) = {shape}; {listing(linear_layers(model))}")
    return fitting[0]


def _placed(new: nn.Module, old: nn.Module) -> nn.Module:
    """``new`` in the place of ``old``: its kind of input, device, dtype and mode."""
    place = next(old.parameters(), None)
    if place is not None:
        if place.is_meta:
            raise ValueError("the old classifier has no values (device meta); load the model's weights first")
        if not place.is_floating_point():
            raise ValueError(f"the old classifier is stored as {place.dtype}; expected a model that is not quantised")
        new = new.to(device=place.device, dtype=place.dtype)
    # One-byte floats are unknown to isfinite.
    values = [value.float() if value.itemsize == 1 else value for value in (*new.parameters(), *new.buffers())]
    if not all(bool(torch.isfinite(value).all()) for value in values):
        dtype = "its dtype" if place is None else place.dtype
        raise ValueError(f"the new classifier is not finite in {dtype}; expected values within the old layer's range")
    if isinstance(old, nn.Conv2d):
        new = _over_pixels(new)
    return new.requires_grad_(True).train(old.training)


def _over_pixels(module: nn.Module) -> nn.Module:
    """The module for an input (B, D, 1, 1) and an output (B, K, 1, 1)."""
    if not isinstance(module, nn.Linear) or type(module).forward is not nn.Linear.forward:
        return nn.Sequential(nn.Flatten(1), module, nn.Unflatten(1, (-1, 1, 1)))
    weight, bias = module.weight.detach(), module.bias
    conv = nn.Conv2d(
        module.in_features,
        module.out_features,
        kernel_size=1,
        bias=bias is not None,
        device=weight.device,
        dtype=weight.dtype,
    )
    with torch.no_grad():
        conv.weight.copy_(weight[:, :, None, None])
        if conv.bias is not None:
            conv.bias.copy_(bias)
    return conv
