"""The model with another classifier."""

from __future__ import annotations

import copy

import torch
from torch import nn

from featurecache.layers import LISTED, described, layer_named, linear_layers, listing, shape_of
from featurecache.quoting import shown


def replace_classifier(model: nn.Module, module: nn.Module, *, layer: str | None = None) -> nn.Module:
    """A deep copy of the model in which a copy of ``module`` is the classifier; the original is untouched.

    The new layer takes the device, dtype and training mode of the old one, and its parameters require
    gradients. A weight that the old layer shared with another (tied embeddings) is not tied any more: the
    other keeps its values, as a new classifier must not change the embedding. A 1x1 convolution is replaced
    by one with the same weights.

    model: any module with an nn.Linear or 1x1 nn.Conv2d classifier
    module: an nn.Linear (D, K), or any module from (B, D) to (B, K), with in_features and out_features if it
        has them
    layer: the layer's name as in ``model.named_modules()``; without it the layer is found by its shape

    Raises ValueError where no layer fits, or two do, or the new values do not fit the old layer's dtype.
    """
    shape = shape_of(module)
    name = _layer_of_shape(model, shape) if layer is None else layer
    old = layer_named(model, name)
    if shape_of(old) is None or shape not in (None, shape_of(old)):
        raise ValueError(
            f"layer {shown(name)} is {described(old)} and the new classifier {described(module)}: "
            "expected layers of equal (K, D)"
        )
    new = _placed(copy.deepcopy(module), old)
    # What the memo already knows is not copied: wherever the old layer was, the copy of the model holds the
    # new one.
    copied: nn.Module = copy.deepcopy(model, {id(old): new})
    return copied


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
        new = new.to(device=place.device, dtype=place.dtype)
    if not all(bool(torch.isfinite(value).all()) for value in new.parameters()):
        dtype = "its dtype" if place is None else place.dtype
        raise ValueError(f"the new classifier is not finite in {dtype}; expected values within the old layer's range")
    if isinstance(old, nn.Conv2d):
        new = _over_pixels(new)
    return new.requires_grad_(True).train(old.training)


def _over_pixels(module: nn.Module) -> nn.Module:
    """The module for an input (B, D, 1, 1) and an output (B, K, 1, 1)."""
    if not isinstance(module, nn.Linear):
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
