"""Checkpoints without a classifier, and classifiers without a place: which layer is meant, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from featurecache.classifier import find_classifier
from featurecache.datasets.images import Transform
from featurecache.quoting import shown

if TYPE_CHECKING:
    from featurecache.models.model import Model

PICTURE = (240, 320, 3)  # of noise: on a plain one, the rows of a layer's input could all be equal


def absent_classifier(
    module: nn.Module, missing: Sequence[str], *, declared: Sequence[str], transform: Transform | None
) -> tuple[str, ...]:
    """The layers of the module's classifier, if their tensors are the missing ones; nothing otherwise.

    module: with all other weights in place.
    missing: the names of the module's tensors that a checkpoint has not.
    declared: the names of the classifier's layers, where the source knows them.
    transform: of images for the module, to find the classifier on one; None: it is not looked for.
    """
    layers = tuple(declared)
    if not layers and transform is not None:
        try:
            layers = tuple(term.name for term in find_classifier(module, _example(transform)).layers)
        except Exception:  # the user's own model and transform, or no provable classifier: nothing is known then
            return ()
    of_them = {name for name in module.state_dict() if name.startswith(tuple(f"{layer}." for layer in layers))}
    return layers if "" not in layers and of_them == set(missing) else ()


def take_out(module: nn.Module, layers: Sequence[str]) -> None:
    """Puts an nn.Identity in the place of each layer. layers: as in module.named_modules()."""
    for layer in layers:
        module.set_submodule(layer, nn.Identity())


def without_classifier(model: Model) -> Model:
    """The model with an nn.Identity in its classifier's place, so that its output is what the classifier was given.

    model: with a transform for its images. One without a provable classifier comes back as it is.
    Raises ValueError where the classifier is several layers, whose inputs are no single row of features.
    """
    try:
        found = find_classifier(model.module, _example(model.transform))
    except ValueError:
        return model
    if len(found.layers) > 1 or not found.name:
        raise ValueError(f"the classifier is {shown(found.name)}: name the layer whose output is wanted with --layer")
    take_out(model.module, [found.name])
    note = f"features are what the classifier {shown(found.name)} is given, {found.weight.shape[1]} numbers a row"
    return replace(model, has_head=False, notes=(*model.notes, note))


def placeless_classifier(
    module: nn.Module,
    unexpected: Mapping[str, Tensor],
    *,
    declared: Sequence[str],
    transform: Transform | None,
) -> tuple[str, ...]:
    """The layers that the unexpected tensors are of, if the module is one without a classifier; nothing otherwise.

    It has an nn.Identity in their place, or the source declares them, or what the module returns is (B, D) and the one
    layer's weight is (K, D).

    module: with all its weights in place.
    unexpected: the tensors of a checkpoint that the module has no place for.
    declared, transform: as above.
    """
    layers = tuple(dict.fromkeys(name.rpartition(".")[0] for name in unexpected))
    for name, value in unexpected.items():
        kind = name.rpartition(".")[2]
        vectors = value.ndim == 2 or (value.ndim == 4 and value.shape[2:] == (1, 1))
        if not (kind == "weight" and vectors) and not (kind == "bias" and value.ndim == 1):
            return ()
    modules = dict(module.named_modules())
    if all(layer in declared or isinstance(modules.get(layer), nn.Identity) for layer in layers):
        return layers
    weight = unexpected.get(f"{layers[0]}.weight")
    if len(layers) > 1 or weight is None or transform is None:
        return ()
    return layers if _width(module, transform) == weight.shape[1] else ()


def _example(transform: Transform) -> Tensor:
    """Two images of noise (2, C, H, W)."""
    noise = np.random.default_rng(0).integers(0, 256, (2, *PICTURE), dtype=np.uint8)
    return torch.stack([transform(Image.fromarray(pixels)) for pixels in noise])


def _width(module: nn.Module, transform: Transform) -> int | None:
    """D of a module in eval mode that gives (B, D) or (B, D, 1, 1); None of any other."""
    try:
        with torch.no_grad():
            out: object = module.eval()(_example(transform))
    except Exception:  # the user's own model and transform
        return None
    flat = isinstance(out, Tensor) and (out.ndim == 2 or (out.ndim == 4 and out.shape[2:] == (1, 1)))
    return int(out.shape[1]) if isinstance(out, Tensor) and flat else None
