"""The layer of a state dict that is the classifier: by its name, else by its shape, and refused where two fit.

A model may have been wrapped in another when its weights were saved ("model.fc" in the file, "fc" in the model), or
when its features were extracted ("fc" in the file, "net.fc" in the model).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from featurecache.layers import JOIN, LISTED
from featurecache.quoting import shown
from featurecache.storage import head_digest
from featurecache.weights_file import PREFIX

ANOTHER = "checkpoint of another architecture"


def weight_name(layer: str) -> str:
    """The name of a layer's weight; the layer "" is the model itself."""
    return f"{layer}.weight" if layer else "weight"


def bias_name(layer: str) -> str:
    """The name of a layer's bias."""
    return f"{layer}.bias" if layer else "bias"


def joined_names(layers: Sequence[str]) -> str:
    """One name for several layers."""
    return JOIN.join(layers)


def fitting(state: Mapping[str, Tensor], shape: tuple[int, int]) -> list[str]:
    """The layers whose weight is (K, D) or (K, D, 1, 1)."""
    return [layer for layer in _layers(state) if _fits(state[weight_name(layer)], shape)]


def layer_of_shape(state: Mapping[str, Tensor], shape: tuple[int, int], expected: str | None = None) -> str:
    """The one layer whose weight is (K, D) or (K, D, 1, 1).

    state: a state dict.
    shape: (K, D).
    expected: digest of the classifier that is meant where several fit.
    Raises ValueError where no layer fits, or several do.
    """
    found = fitting(state, shape)
    if not found:
        raise ValueError(f"{ANOTHER}: it has no weight (K, D) = {shape}{_of_other_classes(state, shape)}")
    if len(found) > 1 and expected is not None:
        found = _holding(state, found, expected) or found
    if len(found) > 1:
        names = listed([weight_name(layer) for layer in found])
        raise ValueError(f"{len(found)} weights are (K, D) = {shape}: {names}; name the layer (--layer)")
    return found[0]


def found_layer(
    state: Mapping[str, Tensor],
    layer: str | None,
    recorded: str | None,
    shape: tuple[int, int] | None,
    expected: str | None,
) -> str:
    """The name that the classifier has in a state dict; its shape is not checked where the name is there as it is.

    state: a state dict.
    layer: the name it must have, but for wrappers; or None.
    recorded: the name it may have; where there is no such layer, it is found by its shape. None: by its shape.
    shape: (K, D), or None where only the name is known.
    expected: digest of the classifier that is meant, or None.
    Raises ValueError where there is no such layer, or several could be it.
    """
    named = layer if layer is not None else recorded
    if named is None:
        if shape is None:
            raise ValueError("neither the classifier's name nor its shape is known; name the layer (--layer)")
        return layer_of_shape(state, shape, expected)
    found = _called(state, named, shape, expected)
    if found is None and layer is None and shape is not None:
        candidates = fitting(state, shape)
        if expected is not None:
            candidates = _holding(state, candidates, expected)
        found = candidates[0] if len(candidates) == 1 else None
    if found is None:
        raise ValueError(_absent(state, named, shape))
    return found


def digest_of(weight: Tensor, bias: Tensor | None) -> str:
    """The digest of a classifier, cast to float32 as a cache holds it.

    weight: (K, D) or (K, D, 1, 1). bias: (K,), or None for zeros.
    """
    return head_digest(weight.flatten(1), weight.new_zeros(len(weight)) if bias is None else bias)


def listed(names: Sequence[str]) -> str:
    """The last of the names, for a message: a classifier is near the end."""
    return ", ".join(map(shown, names[-LISTED:])) + (" and others" if len(names) > LISTED else "")


def _called(state: Mapping[str, Tensor], named: str, shape: tuple[int, int] | None, expected: str | None) -> str | None:
    """The layer of that name, or of that name but for wrappers; None where there is none."""
    if weight_name(named) in state:
        return named
    bare = f"{named}.".removeprefix(PREFIX).removesuffix(".")  # "module" is the wrapped model itself
    if weight_name(bare) in state:
        return bare
    matrices = [layer for layer in _layers(state) if shape is None or _fits(state[weight_name(layer)], shape)]
    behind = [layer for layer in matrices if bare and layer.endswith(f".{bare}")]
    if len(behind) > 1 and expected is not None:
        behind = _holding(state, behind, expected)
    if len(behind) > 1:
        names = listed([weight_name(layer) for layer in behind])
        raise ValueError(f"{len(behind)} layers could be {shown(named)}: {names}; name the one that is meant (--layer)")
    if behind:
        return behind[0]
    words = bare.split(".")
    shorter = [".".join(words[cut:]) for cut in range(1, len(words))]
    return next((layer for layer in shorter if layer in matrices), None)


def _absent(state: Mapping[str, Tensor], layer: str, shape: tuple[int, int] | None) -> str:
    """Why the layer's weight is not there."""
    computed = [name for name in state if name.startswith((f"{layer}.parametrizations.", f"{layer}.weight_"))]
    if computed:
        return (
            f"layer {shown(layer)} computes its weight from {listed(computed)}; expected a plain weight: write the "
            "head by itself (--module), or use featurecache.replace_classifier in Python"
        )
    if shape is None:
        return f"{ANOTHER}: it has no layer {shown(layer)}"
    found = [weight_name(name) for name in fitting(state, shape)]
    if found:
        where = f"(K, D) = {shape} is the shape of {listed(found)}; name the one that is meant (--layer)"
    else:
        where = f"no weight is (K, D) = {shape}{_of_other_classes(state, shape)}"
    return f"{ANOTHER}: it has no layer {shown(layer)}; {where}"


def _of_other_classes(state: Mapping[str, Tensor], shape: tuple[int, int]) -> str:
    """A hint at the last layer that differs in the number of classes alone."""
    close = [layer for layer in _layers(state) if _fits(state[weight_name(layer)], (None, shape[1]))]
    if not close:
        return ""
    return f" (the last layer of that width, {shown(close[-1])}, gives {len(state[weight_name(close[-1])])})"


def _holding(state: Mapping[str, Tensor], layers: Sequence[str], expected: str) -> list[str]:
    """Those of the layers that hold the expected classifier."""
    return [layer for layer in layers if digest_of(state[weight_name(layer)], state.get(bias_name(layer))) == expected]


def _layers(state: Mapping[str, Tensor]) -> Iterator[str]:
    """The layers with a matrix called weight, or a 1x1 convolution's."""
    for name, value in state.items():
        if name.rpartition(".")[2] == "weight" and (value.ndim == 2 or (value.ndim == 4 and value.shape[2:] == (1, 1))):
            yield name.removesuffix("weight").removesuffix(".")


def _fits(weight: Tensor, shape: tuple[int | None, int]) -> bool:
    return weight.shape[1] == shape[1] and shape[0] in (None, weight.shape[0])
