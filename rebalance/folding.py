"""Heads that do more than they need: what is affine in them as one weight and bias."""

from __future__ import annotations

from typing import NamedTuple

import torch

from rebalance.head import GatedHead, LinearHead, NormalizedHead


class Folded(NamedTuple):
    """A head with the same logits, and in one line what became one weight and bias in it and what did not."""

    head: LinearHead
    said: str


def fold(head: LinearHead) -> Folded:
    """The head as a plain linear one, if its logits are affine in the features; else the head itself.

    A gated head is affine where its gate is the same for every row, or its correction changes nothing. A normalised
    head is not, with or without a center: the center is subtracted before every row is divided by its own length, and
    a bias would come after. Temperatures, factors and offsets are in the weight and bias of any head already.

    head: of any type; its record goes along.
    """
    if isinstance(head, GatedHead):
        return _gated(head)
    if isinstance(head, NormalizedHead):
        center = ", nor can its center, which comes before" if bool(head.center.any()) else ""
        return Folded(head, f"the scaling of every row to length one is not affine and cannot be folded{center}")
    temperature = head.record.get("temperature")
    inside = f", its temperature of {temperature:.4g} in them" if isinstance(temperature, float) else ""
    return Folded(head, f"nothing to fold: it is one weight and bias already{inside}")


def _gated(head: GatedHead) -> Folded:
    corrects = bool((head.scale != 1).any() or head.offset.any())
    if corrects and bool(head.gate.any()):
        return Folded(head, "its gate cannot be folded: it opens by another share for every row, which is not affine")
    share = torch.sigmoid(head.gate_bias.double()) if corrects else head.gate_bias.new_zeros(()).double()
    factors = share * head.scale.double() + (1 - share)
    weight = (factors[:, None] * head.weight.double()).float()
    bias = (factors * head.bias.double() + share * head.offset.double()).float()
    what = f"its gate, open by {float(share):.4g} for every row" if corrects else "its gate, which changes nothing"
    return Folded(LinearHead(weight, bias, head.record), f"folded into one weight and bias: {what}")
