"""Where training programs keep the weights inside a file.

A file is a state dict, or a dictionary with one under a key of PLAIN. Beside it, under a key of AVERAGED, may lie the
weights averaged over the training (EMA): timm writes state_dict and state_dict_ema, torchvision's scripts model and
model_ema, pycls model_state and ema_state. The paper's files hold two state dicts under state_dict_best: feat_model,
and classifier, which may have a vector `scales` that its logits are multiplied with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

PLAIN = ("state_dict", "model", "model_state_dict", "model_state", "net")
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_state", "ema")
PAPER, PAPER_PARTS = "state_dict_best", ("feat_model", "classifier")
WEIGHT, BIAS, SCALES = "fc.weight", "fc.bias", "scales"  # of the paper's classifier


def located(root: dict[Any, Any], *, ema: bool) -> tuple[dict[Any, Any], ...]:
    """The state dicts inside a file's object: one, or the two of the paper.

    root: the object in the file.
    ema: the averaged weights.
    Raises ValueError when there are none, or several.
    """
    averaged, plain = _among(root, AVERAGED), _among(root, PLAIN)
    if ema:
        if not averaged:
            keys = ", ".join(map(repr, AVERAGED))
            raise ValueError(f"it holds no averaged weights (none of {keys}); leave --ema out")
        return (root[_one(averaged)],)
    paper = root.get(PAPER)
    if isinstance(paper, dict):
        parts = tuple(paper[name] for name in PAPER_PARTS if isinstance(paper.get(name), dict))
        if parts:
            return parts
    if plain:
        return (root[_one(plain)],)
    if averaged:
        raise ValueError(f"it holds averaged weights only, under {averaged[0]!r}; take them with --ema")
    return (root,)


def has_both(root: dict[Any, Any]) -> bool:
    """Whether a file's object holds averaged weights beside the plain ones.

    root: the object in the file.
    """
    return bool(_among(root, AVERAGED)) and (bool(_among(root, PLAIN)) or isinstance(root.get(PAPER), dict))


def _among(root: Mapping[Any, Any], keys: tuple[str, ...]) -> list[str]:
    """The keys that hold tensors; where none does, those that hold a dictionary at all."""
    found = [key for key in keys if isinstance(root.get(key), dict)]
    return [key for key in found if any(isinstance(value, Tensor) for value in root[key].values())] or found


def _one(found: list[str]) -> str:
    if len(found) > 1:
        raise ValueError(f"it holds {len(found)} state dicts ({', '.join(map(repr, found))}), expected one")
    return found[0]


def fold_scales(state: dict[str, Tensor]) -> None:
    """Multiplies the paper's scales (K,), where there are any, into the classifier: scales * (W x + b) is linear.

    state: with fc.weight (K, D) and fc.bias (K,); changed in place.
    Raises ValueError where the scales have no such classifier.
    """
    scales = state.pop(SCALES, None)
    if scales is None:
        return
    weight, bias = state.get(WEIGHT), state.get(BIAS)
    if weight is None or weight.ndim != 2 or tuple(scales.shape) != (len(weight),):
        raise ValueError(f"its {SCALES!r} {tuple(scales.shape)} belong to no classifier {WEIGHT!r} (K, D)")
    state[WEIGHT] = weight * scales[:, None]
    if bias is not None:
        if bias.shape != scales.shape:
            raise ValueError(f"its {BIAS!r} is {tuple(bias.shape)}, expected {tuple(scales.shape)} as its scales")
        state[BIAS] = bias * scales
