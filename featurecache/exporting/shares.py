"""A classifier made of several layers, or of one with a factor: what each of them holds of the whole.

The logits are the sum of factor * (weight @ x + bias) over the layers, so the whole classifier is their weights times
their factors side by side, and any other is divided among them the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from featurecache.classifying.terms import Term
from featurecache.quoting import shown

DAMAGED = "the head's record of its classifier's layers is damaged; fit the head again"


def read_terms(recorded: Sequence[Mapping[str, Any]], width: int | None = None) -> tuple[Term, ...]:
    """The layers of a classifier as a head remembers them; none where it is one plain layer.

    recorded: objects with name, width, factor and normalised, as JSON has them.
    width: D of the head, where it is known.
    Raises ValueError when they are no such objects, or no plain layers that a file can hold the weights of.
    """
    try:
        terms = tuple(
            Term(str(t["name"]), int(t["width"]), float(t["factor"]), bool(t["normalised"])) for t in recorded
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        raise ValueError(DAMAGED) from None
    broken = any(term.width < 1 or not math.isfinite(term.factor) or not term.factor for term in terms)
    if broken or len({term.name for term in terms}) < len(terms):
        raise ValueError(DAMAGED)
    total = sum(term.width for term in terms)
    if terms and width is not None and total != width:
        raise ValueError(f"the head is {width} wide, and the layers that it remembers {total}; fit the head again")
    normalised = [shown(term.name) for term in terms if term.normalised]
    if normalised:
        raise ValueError(
            f"layer {normalised[0]} divides its input by its length and computes its weight, so no file can hold the "
            "head in its place; use --module, or featurecache.replace_classifier in Python"
        )
    return terms


def shared(
    weight: Tensor, bias: Tensor | None, terms: Sequence[Term], biased: Sequence[bool]
) -> list[tuple[Tensor, Tensor]]:
    """The weight (K, D of the layer) and bias (K,) of every layer, which add up to the head; in float64.

    weight: (K, D). bias: (K,), or None for zeros; all of it goes to the layers that have one.
    terms: the layers.
    biased: which of them have a bias.
    """
    columns = torch.split(weight.double(), [term.width for term in terms], 1)
    whole = torch.zeros(len(weight), dtype=torch.float64) if bias is None else bias.double()
    return [
        (part / term.factor, whole * has_bias / (max(1, sum(biased)) * term.factor))
        for part, term, has_bias in zip(columns, terms, biased, strict=True)
    ]


def joined(layers: Sequence[tuple[Tensor, Tensor | None]], terms: Sequence[Term]) -> tuple[Tensor, Tensor]:
    """The weight (K, D) and bias (K,) that layers amount to, rounded as find_classifier rounds them.

    layers: weight (K, D of the layer) and bias (K,) or None of each.
    terms: their factors.
    """
    scaled = [
        [_times(term.factor, value) for value in (weight, weight.new_zeros(len(weight)) if bias is None else bias)]
        for (weight, bias), term in zip(layers, terms, strict=True)
    ]
    if len(scaled) == 1:
        return scaled[0][0], scaled[0][1]
    weights, biases = zip(*scaled, strict=True)
    return torch.cat(weights, 1), torch.stack(biases).sum(0)


def _times(factor: float, value: Tensor) -> Tensor:
    return value if factor == 1 else factor * value.double()
