"""Which layers' outputs add up to the logits, and with which factors: seen in what other outputs do to the logits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featurecache.classifying.observing import Call, observe
from featurecache.proof import precision


@dataclass(frozen=True, eq=False)
class Summand:
    """A layer whose output arrives in the logits, multiplied with one number and otherwise unchanged.

    call: of the layer, undisturbed.
    factor: that number, as measured.
    feeds: the other layers that compute with its output.
    """

    call: Call
    factor: float
    feeds: frozenset[str]


def summand_of(model: nn.Module, example: Any, logits: Tensor, call: Call, others: Sequence[Call]) -> Summand:
    """The layer as a summand, by a forward in which noise is added to its output.

    logits: (B, K), of the undisturbed forward.
    call: of the layer in it, with its output.
    others: calls of other layers in it.

    Raises ValueError where the logits do not move by a multiple of the noise.
    """
    noise = _Noise(call.output, logits)
    watched = [(other.name, other.layer) for other in others if other is not call]
    moved, again = observe(model, example, watched, {call.layer: noise})
    change = moved.cpu().double() - logits.cpu().double()
    given = noise.added.reshape(change.shape)
    relative, size = precision(call.inputs, logits), float(logits.abs().max())
    if float(change.abs().max()) <= relative * size:
        raise ValueError("its output does not reach the logits")
    factor = float((change * given).sum() / given.square().sum())
    if not float((change - factor * given).abs().max()) <= relative * (size + float(change.abs().max())):
        raise ValueError("the logits are not linear in its output")
    feeds = frozenset(name for name, layer in watched if _differs(layer, others, again, relative))
    return Summand(call, 1.0 if abs(factor - 1) < 1e-6 else factor, feeds)


def outermost(summands: Collection[Summand]) -> list[Summand]:
    """Those that feed none of the others: what the fed ones give holds their part already."""
    names = {summand.call.name for summand in summands}
    return [summand for summand in summands if not summand.feeds & names]


def factors_of(model: nn.Module, example: Any, summands: Sequence[Summand]) -> list[float]:
    """The summands' factors as the model has them, free of the rounding of whatever they were measured on.

    Each layer's output is replaced by ones, the others' by zeros: then every logit is the layer's factor.

    Raises ValueError where not all logits are the factor: then something else is added to them.
    """
    if len(summands) == 1 and summands[0].factor == 1:
        return [1.0]
    found = []
    for summand in summands:
        layer = summand.call.layer
        changes = {other.call.layer: torch.zeros_like for other in summands} | {layer: torch.ones_like}
        logits, _ = observe(model, example, (), changes)
        factor, relative = float(logits.flatten()[0]), precision(summand.call.inputs, logits)
        off = float((logits.cpu().double() - factor).abs().max())
        if not max(off, abs(factor - summand.factor)) <= relative * abs(factor):
            raise ValueError("something else is added to the logits")
        found.append(factor)
    return found


class _Noise:
    """Adds noise to a layer's output and remembers what was really added, after rounding.

    It is as large as the output and the logits: a layer that gives little on these rows is still seen.
    """

    def __init__(self, output: Tensor | None, logits: Tensor) -> None:
        self.added = torch.zeros(logits.numel(), dtype=torch.float64)
        self._size = max(float(value.abs().max()) for value in (output, logits) if value is not None) or 1.0

    def __call__(self, output: Tensor) -> Tensor:
        uniform = 2 * torch.rand(output.shape, generator=torch.Generator().manual_seed(0)) - 1
        changed = output + (self._size * uniform).to(output)
        self.added = changed.detach().cpu().double() - output.detach().cpu().double()
        return changed


def _differs(layer: nn.Module, before: Sequence[Call], after: Sequence[Call], relative: float) -> bool:
    """Whether the layer was given, or gave, something else than before."""
    first, second = ([call for call in calls if call.layer is layer] for calls in (before, after))
    if len(second) != len(first):
        return True
    pairs = list(zip(first, second, strict=True))
    if any(_far(one.inputs, other.inputs, relative) for one, other in pairs):
        return True
    return any(_far(one.output, other.output, relative) for one, other in pairs if one.output is not None)


def _far(one: Tensor, other: Tensor | None, relative: float) -> bool:
    if other is None or one.shape != other.shape:
        return True
    if one.is_meta:
        return False
    return not float((one - other).abs().max()) <= relative * float(one.abs().max())
