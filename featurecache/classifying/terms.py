"""A classifier as data: the layers that make the logits, and the one matrix they amount to."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Term:
    """One layer of a classifier: factor times its output is a summand of the logits.

    name: as in ``model.named_modules()``.
    width: D of its input.
    factor: what its output is multiplied with.
    normalised: whether it divides its input by the input's length.
    """

    name: str
    width: int
    factor: float = 1.0
    normalised: bool = False


@dataclass(frozen=True, eq=False)
class Classifier:
    """What makes the logits: features @ weight.T + bias, as detached float32 copies on the CPU.

    name: of the layer, as in ``model.named_modules()``; of several that are added, joined by "+".
    weight: (K, D), D the width of all layers' inputs side by side; the factors are in it.
    bias: (K,), zeros where there is none.
    terms: the layers, in the order of their columns; empty: one plain layer, called ``name``.
    """

    name: str
    weight: Tensor
    bias: Tensor
    terms: tuple[Term, ...] = ()

    @property
    def layers(self) -> tuple[Term, ...]:
        """The terms, also where they go without saying."""
        return self.terms or (Term(self.name, int(self.weight.shape[1])),)

    @property
    def is_plain(self) -> bool:
        """Whether it is one layer whose own weight and bias are these."""
        return self.layers == (Term(self.name, int(self.weight.shape[1])),)
