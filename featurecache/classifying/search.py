"""The search for the layers that make a model's logits, on one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from featurecache.classifying.formulas import Formula, formula_of, normalised
from featurecache.classifying.observing import Call, observe
from featurecache.classifying.sums import Summand, factors_of, outermost, summand_of
from featurecache.classifying.terms import Classifier, Term
from featurecache.layers import JOIN, described, linear_layers, listing, rows_of, shape_of
from featurecache.proof import check_finite, prove
from featurecache.quoting import shown

MOST = 8  # layers that are tried, the last ones executed: each costs a forward
EXPLAINED = 3  # layers whose reasons fit into one line


class Search:
    """One forward is done, and the watched layers' calls are known; then `any` or `all` gives the classifier.

    model: in eval mode.
    example: a batch as it takes it.
    watched: the layers that may be the classifier, with their names.

    Raises ValueError where the logits are not finite floats (B, K).
    """

    def __init__(self, model: nn.Module, example: Any, watched: Sequence[tuple[str, nn.Module]]) -> None:
        self._model, self._example, self._watched = model, example, watched
        self._logits, calls = observe(model, example, watched)
        check_finite(self._logits)
        self._calls: dict[str, list[Call]] = {}  # in the order of execution
        for call in calls:
            self._calls.setdefault(call.name, []).append(call)
        self._errors: dict[str, str] = {}

    def any(self) -> Classifier:
        """Whichever of the watched layers make the logits; ValueError with the candidates where none do."""
        candidates = self._candidates()
        summands: dict[str, Summand] = {}
        for call in candidates:
            try:
                summands[call.name] = summand_of(self._model, self._example, self._logits, call, candidates)
            except ValueError as error:
                self._errors[call.name] = self._miss(call) or str(error)
        formulas: dict[str, Formula] = {}
        while unknown := [part.call for part in outermost(summands.values()) if part.call.name not in formulas]:
            try:
                formulas[unknown[0].name] = _formula(unknown[0])
            except ValueError as error:
                self._errors[unknown[0].name] = str(error)
                del summands[unknown[0].name]  # what feeds it may be a part in its place
        parts = outermost(summands.values())
        try:
            if parts:
                return self._proved([(part, formulas[part.call.name]) for part in parts])
        except ValueError as error:
            self._errors |= {part.call.name: str(error) for part in parts}
        raise ValueError(self._refusal())

    def all(self, asked: str) -> Classifier:
        """The watched layers together, in their order; ValueError with the reason where they are not the classifier.

        asked: what a message calls them.
        """
        try:
            return self._proved([self._part(name) for name, _ in self._watched])
        except ValueError as error:
            raise ValueError(f"layer {shown(asked)} is not the model's classifier: {error}") from None

    def _part(self, name: str) -> tuple[Summand, Formula]:
        """The layer as a part of the classifier; ValueError with the reason why it is none."""
        call = self._candidate(name)
        formula = _formula(call)
        try:
            return summand_of(self._model, self._example, self._logits, call, ()), formula
        except ValueError as error:
            raise ValueError(self._miss(call) or str(error)) from None

    def _candidates(self) -> list[Call]:
        """The calls of the layers that may be parts by their shapes, in the order of execution."""
        found = []
        for name in self._calls:
            try:
                found.append(self._candidate(name))
            except ValueError as error:
                self._errors[name] = str(error)
        return found[-MOST:]

    def _candidate(self, name: str) -> Call:
        """The layer's one call; ValueError where there are more, or its input or output has another shape."""
        calls = self._calls.get(name, [])
        if len(calls) != 1:
            raise ValueError(f"it is called {len(calls)} times in one forward, expected once")
        rows_of(calls[0].inputs)
        output, wanted = calls[0].output, tuple(self._logits.shape)
        if output is None or output.flatten(1).shape != wanted:
            given = "not one vector a row" if output is None else tuple(output.shape)
            raise ValueError(f"its output is {given}, expected {wanted} as the logits")
        return calls[0]

    def _miss(self, call: Call) -> str | None:
        """By how much the layer alone misses the logits; None where that cannot be said."""
        try:
            formula = _formula(call)
        except ValueError:
            return None
        try:
            prove(_features(call, formula), formula.weight, formula.bias, self._logits)
        except ValueError as error:
            return str(error)
        return "its output equals the logits but does not make them alone"

    def _proved(self, parts: Sequence[tuple[Summand, Formula]]) -> Classifier:
        """The parts as one classifier; ValueError where they do not give the logits."""
        factors = factors_of(self._model, self._example, [part for part, _ in parts])
        formulas = [formula for _, formula in parts]
        features = torch.cat([_features(part.call, formula) for part, formula in parts], 1)
        weight = torch.cat([_times(c, formula.weight) for c, formula in zip(factors, formulas, strict=True)], 1)
        bias = torch.stack([_times(c, formula.bias) for c, formula in zip(factors, formulas, strict=True)]).sum(0)
        prove(features, weight, bias, self._logits)
        terms = tuple(
            Term(part.call.name, formula.weight.shape[1], factor, formula.normalised)
            for factor, (part, formula) in zip(factors, parts, strict=True)
        )
        weight, bias = (value.to("cpu", torch.float32, copy=True) for value in (weight, bias))
        return Classifier(JOIN.join(term.name for term in terms), weight, bias, terms)

    def _refusal(self) -> str:
        """Why no layer will do: the last of the layers with as many outputs as there are classes."""
        classes = self._logits.shape[1]
        fitting = [
            f"{shown(name)} {described(layer)}: {self._errors.get(name, 'it is not called')}"
            for name, layer in self._watched
            if (shape_of(layer) or (0,))[0] == classes or self._gives(name, classes)
        ]
        said = "; ".join(fitting[-EXPLAINED:]) or listing(linear_layers(self._model))
        return (
            f"no layer provably makes the model's {classes} logits ({said}); "
            "a model that ends in a softmax must give its logits instead; name the layer with layer= (--layer NAME), "
            "or cache features without a head with head=False (--no-head)"
        )

    def _gives(self, name: str, classes: int) -> bool:
        outputs = [call.output for call in self._calls.get(name, [])]
        return any(output is not None and output.flatten(1).shape[1] == classes for output in outputs)


def _formula(call: Call) -> Formula:
    output = call.output
    if output is None:
        raise ValueError("its output is not one vector a row")
    return formula_of(call.layer, rows_of(call.inputs), output.flatten(1))


def _features(call: Call, formula: Formula) -> Tensor:
    rows = rows_of(call.inputs)
    return normalised(rows) if formula.normalised else rows


def _times(factor: float, value: Tensor) -> Tensor:
    """factor * value on the CPU, in float64 unless it is the value itself."""
    return value.cpu() if factor == 1 else factor * value.cpu().double()
