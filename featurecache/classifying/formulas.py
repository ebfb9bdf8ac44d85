"""How a layer's output follows from its input: multiplied with a matrix, or compared by the cosine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from featurecache.layers import matrices_of, parameters_of
from featurecache.proof import precision, prove


@dataclass(frozen=True, eq=False)
class Formula:
    """features @ weight.T + bias, where the features are the layer's input, or that divided by its length.

    weight: (K, D), detached.
    bias: (K,), detached.
    normalised: whether the input is divided by its length.
    """

    weight: Tensor
    bias: Tensor
    normalised: bool = False


def normalised(inputs: Tensor) -> Tensor:
    """The rows (…, D) divided by their Euclidean lengths, in their own dtype; a row of zeros stays."""
    exact = inputs.double() if inputs.dtype == torch.float64 else inputs.float()
    return functional.normalize(exact, dim=-1).to(inputs.dtype)


def formula_of(layer: nn.Module, inputs: Tensor, output: Tensor) -> Formula:
    """What the layer computes, told from its numbers and not from its type.

    inputs: (B, D), as the layer computed with them.
    output: (B, K), what it gave for them.

    Raises ValueError where neither a product with a matrix of the layer's own nor a multiple of the cosine gives
    the output.
    """
    try:
        weight, bias = parameters_of(layer)
        prove(inputs, weight, bias, output)
    except ValueError as error:
        formula = next(_scaled(layer, inputs, output), None)
        if formula is None:
            raise ValueError(str(error).replace("the logits", "its output")) from None
        return formula
    return Formula(weight, bias)


def _scaled(layer: nn.Module, inputs: Tensor, output: Tensor) -> Iterator[Formula]:
    """The formulas scale * features @ matrix.T + bias that give the output, cosines first.

    Features and matrix may each be normalised or not, and a bias may be there and not used: there are heads of every
    kind.
    """
    zeros, own = torch.zeros(output.shape[1], dtype=torch.float64), getattr(layer, "bias", None)
    biases = [zeros, own.detach().cpu().double()] if isinstance(own, Tensor) and own.shape == zeros.shape else [zeros]
    relative, given = precision(inputs, output), output.cpu().double()
    matrices = [matrix.cpu().double() for matrix in matrices_of(layer, output.shape[1], inputs.shape[1])]
    weights = [weight for matrix in matrices for weight in (functional.normalize(matrix, dim=1), matrix)]
    for over_length, weight, bias in product((True, False), weights, biases):
        features = normalised(inputs) if over_length else inputs
        scale = _multiple(given - bias, features.cpu().double() @ weight.T)
        formula = Formula(_exact(scale, layer, relative) * weight, bias, over_length)
        try:
            prove(features, formula.weight, bias, output)
        except ValueError:
            continue
        yield formula


def _multiple(values: Tensor, of: Tensor) -> float:
    """The number that times ``of`` is nearest to the values; 1 where nothing can tell."""
    energy = float(of.square().sum())
    return float((values * of).sum()) / energy if energy and bool(values.any()) else 1.0


def _exact(scale: float, layer: nn.Module, relative: float) -> float:
    """A measured scale without its rounding: a whole number, or one the layer holds, or that one's exponential.

    Inverses of these count too. So a model's classifier is the same to the last bit whatever it was measured on.

    relative: how exact a single output is; the scale was measured on all of them.
    """
    if not 1e-30 < abs(scale) < 1e30:  # also where it is NaN
        return scale
    own = (*vars(layer).values(), *layer.parameters(recurse=False), *layer.buffers(recurse=False))
    numbers = [float(value) for value in own if isinstance(value, float | int)]
    scalars = [float(value.detach()) for value in own if isinstance(value, Tensor) and value.numel() == 1]
    held = [*numbers, *scalars, *(math.exp(min(value, 80.0)) for value in scalars), round(scale)]
    held += [1 / value for value in (*held, round(1 / scale)) if value]
    nearest = min(held, key=lambda value: abs(value - scale))
    return nearest if abs(nearest - scale) <= relative / 8 * abs(scale) else scale
