"""Classifiers of directions: logits that are cosines of features and classes times a scale.

They are trained as a NormedLinear, in which the length of a class's weight means nothing. Kept and used they are a
UnitLinear: features scaled to length one, then an ordinary linear layer that any tool reads and replaces.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from featurecache.quoting import shown


class NormedLinear(nn.Module):
    """Logits (..., K) of features (..., D): ``scale * cos(w_k, x)``.

    weight: (K, D), of which only the directions count; drawn at random where none is given.
    scale: above 0.
    """

    def __init__(self, in_features: int, out_features: int, scale: float, weight: Tensor | None = None) -> None:
        super().__init__()
        self.in_features, self.out_features, self.scale = in_features, out_features, scale
        drawn = torch.randn(out_features, in_features) if weight is None else weight.detach().clone()
        self.weight = nn.Parameter(normalize(drawn))

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * linear(normalize(features, dim=-1), normalize(self.weight))


class UnitRows(nn.Module):
    """Features (..., D) scaled to length one."""

    def forward(self, features: Tensor) -> Tensor:
        return normalize(features, dim=-1)


class UnitLinear(nn.Sequential):
    """Features scaled to length one, then nn.Linear(D, K); the linear layer is the child "1"."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(UnitRows(), nn.Linear(in_features, out_features))
        self.in_features, self.out_features = in_features, out_features


def with_normed(model: nn.Module, layer: str, scale: float) -> NormedLinear:
    """Puts a NormedLinear in a classifier's place, in the model itself; it begins at the directions of the old weights.

    layer: the classifier's name, an nn.Linear (D, K). scale: see NormedLinear.
    Raises ValueError when the layer is anything else.
    """
    old = model.get_submodule(layer)
    if not isinstance(old, nn.Linear) or not layer:
        raise ValueError(
            f"classifier {shown(layer)} is a {type(old).__name__[:80]}; a loss of cosines needs an nn.Linear within "
            "the model"
        )
    if not (0 < scale < math.inf):
        raise ValueError(f"scale is {scale}, expected a number above 0, such as 30")
    started = old.weight if bool(old.weight.detach().any(dim=1).all()) else None  # a row of zeros has no direction
    new = NormedLinear(old.in_features, old.out_features, scale, started).to(old.weight.device)
    _put(model, layer, new)
    return new


def unfolded(model: nn.Module, layer: str) -> None:
    """Makes room in a fresh model for the weights of a folded one: a UnitLinear in a linear classifier's place.

    layer: the classifier's name.
    Raises ValueError when it is no nn.Linear.
    """
    try:
        old = model.get_submodule(layer)
    except AttributeError:
        old = model
    if not isinstance(old, nn.Linear) or not layer:
        raise ValueError(f"the model has no linear classifier {shown(layer)} to take features of length one")
    _put(model, layer, UnitLinear(old.in_features, old.out_features))


@torch.no_grad()
def fold(model: nn.Module, layer: str) -> str:
    """Turns a NormedLinear into an ordinary linear layer behind UnitRows, with the same logits; its new place.

    layer: the NormedLinear's name. What comes back is the name of the UnitLinear; where it was in one already, that.
    """
    old = model.get_submodule(layer)
    if not isinstance(old, NormedLinear):
        raise ValueError(f"layer {shown(layer)} is a {type(old).__name__[:80]}, expected a NormedLinear")
    parent, _, child = layer.rpartition(".")
    holder = model.get_submodule(parent)
    folded = holder if isinstance(holder, UnitLinear) else UnitLinear(old.in_features, old.out_features)
    plain = nn.Linear(old.in_features, old.out_features, device=old.weight.device, dtype=old.weight.dtype)
    plain.weight.copy_(old.scale * normalize(old.weight))
    plain.bias.zero_()
    folded[1] = plain
    if folded is holder:
        return parent
    setattr(holder, child, folded.train(old.training))
    return layer


def _put(model: nn.Module, layer: str, new: nn.Module) -> None:
    parent, _, child = layer.rpartition(".")
    setattr(model.get_submodule(parent), child, new.train(model.training))
