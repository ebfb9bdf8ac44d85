"""The proof that features, a classifier and logits belong together."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# TF32 keeps 10 bits of a float32 factor. It is PyTorch's default for convolutions on CUDA.
_TF32 = 2.0**-10


def prove(features: Tensor, weight: Tensor, bias: Tensor | None, logits: Tensor) -> float:
    """The largest deviation of features @ weight.T + bias from the logits, computed in float64.

    features: (B, D), in the dtype the layer computed with
    weight: (K, D)
    bias: (K,) or None
    logits: (B, K), in the dtype the model returned

    Raises ValueError where shapes do not fit, a logit is not finite, or the deviation is beyond rounding.
    """
    _check_shapes(features, weight, bias, logits)
    check_finite(logits)
    x, w, z = (value.detach().cpu().double() for value in (features, weight, logits))
    b = z.new_zeros(z.shape[1]) if bias is None else bias.detach().cpu().double()
    deviation = float((x @ w.T + b - z).abs().max())
    # Each term x_d w_kd is rounded and the sum is added in an unknown order: beside the logit itself, the
    # error grows with the root of the sum of the terms' squares (logits may cancel to nearly nothing).
    terms = (x.square() @ w.square().T + b.square()).sqrt()
    allowed = precision(features, logits) * float(z.abs().max() + terms.max())
    if not deviation <= allowed:  # also where it is NaN
        raise ValueError(
            f"features @ weight.T + bias misses the logits by {deviation:.3g}, "
            f"more than rounding allows ({allowed:.3g} for logits up to {float(z.abs().max()):.3g})"
        )
    return deviation


def precision(features: Tensor, logits: Tensor) -> float:
    """The deviation, relative to the size of the numbers, that rounding explains.

    In float32 a sum of D terms deviates by about sqrt(D) * 6e-8, 1e-5 for the widest layers; 1e-4 leaves room
    for fused kernels and is far below what another layer would give. In lower precision every weight and
    every logit is itself rounded, by up to half an epsilon: four epsilons are 4e-3 in float16 and TF32, 3e-2
    in bfloat16.

    features, logits: the dtypes and devices matter
    """
    coarsest = max(torch.finfo(value.dtype).eps for value in (features, logits))
    if features.is_cuda or logits.is_cuda:
        coarsest = max(coarsest, _TF32)
    return max(1e-4, 4 * coarsest)


def logits_of(output: object) -> Tensor:
    """The logits (B, K) in whatever a model returned.

    output: a tensor, a mapping with "logits", an object with ``.logits``, or a tuple or list that begins with
        one

    Raises ValueError for anything else, and for a tensor that is not (B, K).
    """
    found = output
    if isinstance(output, Mapping) and "logits" in output:
        found = output["logits"]
    elif not isinstance(output, Tensor) and isinstance(getattr(output, "logits", None), Tensor):
        found = getattr(output, "logits", None)
    elif isinstance(output, tuple | list) and output:
        return logits_of(output[0])
    if not isinstance(found, Tensor):
        raise ValueError(
            f"the model returned a {type(output).__name__[:80]} without logits; expected a tensor (B, K), "
            'a mapping with "logits", an object with .logits or a tuple that begins with the logits'
        )
    if found.ndim != 2 or not found.numel() or not found.is_floating_point():
        raise ValueError(
            f"the model returned {found.dtype} {tuple(found.shape)}; expected floats (B, K), a row a sample"
        )
    return found


def check_finite(logits: Tensor) -> None:
    """ValueError naming the first row of the logits (B, K) that is not finite."""
    bad = (~torch.isfinite(logits)).any(dim=1).nonzero()
    if len(bad):
        raise ValueError(
            f"the model's logits are not finite in {len(bad)} of {len(logits)} rows "
            f"(first: row {int(bad[0])}); expected finite logits: check the weights and the input"
        )


def _check_shapes(features: Tensor, weight: Tensor, bias: Tensor | None, logits: Tensor) -> None:
    rows, classes = logits.shape if logits.ndim == 2 else (0, 0)
    width = features.shape[-1] if features.ndim else 0
    shapes = [tuple(value.shape) for value in (features, weight, logits)]
    if not logits.numel() or shapes[:2] != [(rows, width), (classes, width)]:
        raise ValueError(
            f"features {shapes[0]} and weight {shapes[1]} cannot give logits {shapes[2]}: "
            "expected (B, D), (K, D) and (B, K)"
        )
    if bias is not None and tuple(bias.shape) != (classes,):
        raise ValueError(f"bias {tuple(bias.shape)} of logits {shapes[2]}: expected ({classes},)")
    if not (features.is_floating_point() and logits.is_floating_point()):
        raise ValueError(f"features are {features.dtype} and logits {logits.dtype}: expected floating dtypes")
