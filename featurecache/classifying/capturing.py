"""Features read out of a running model: what its classifier is given, or what a backbone gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from featurecache.classifying.formulas import normalised
from featurecache.classifying.observing import evaluating
from featurecache.classifying.terms import Classifier, Term
from featurecache.layers import LISTED, input_of, is_rows, layer_named, layers_named, rows_of
from featurecache.quoting import shown


class Capture:
    """The features of the model's latest forward; made by `capture` and `capture_output`."""

    def __init__(self, read: Callable[[], Tensor]) -> None:
        self._read = read

    @property
    def features(self) -> Tensor:
        """(B, D), detached, in the dtype they were computed in.

        Raises ValueError unless the latest forward gave one vector a row.
        """
        return self._read()


@contextmanager
def capture(model: nn.Module, classifier: Classifier | str) -> Iterator[Capture]:
    """An object whose ``features`` (B, D) are what the classifier was given in the latest forward of ``model``.

    With a classifier of `find_classifier`, features @ weight.T + bias are the logits: the inputs of several layers
    stand side by side, those of a cosine layer are divided by their lengths.

    model: the module that is called inside the ``with`` block.
    classifier: that, or just the layer's name as in ``model.named_modules()``; "a+b" names several. What a layer that
        is only named was given stays as it was.

    Raises ValueError for an unknown layer; reading ``features`` raises it where a layer was not called just once.
    """
    if isinstance(classifier, Classifier):
        terms = [(term, layer_named(model, term.name)) for term in classifier.layers]
    else:
        terms = [(Term(name, 0), layer) for name, layer in layers_named(model, classifier)]
    given: dict[str, list[Tensor]] = {term.name: [] for term, _ in terms}

    def begin(_module: nn.Module, _args: Any) -> None:
        for inputs in given.values():
            inputs.clear()

    def features() -> Tensor:
        rows = [_only(term.name, given[term.name]) for term, _ in terms]
        sides = [normalised(x) if term.normalised else x for (term, _), x in zip(terms, rows, strict=True)]
        return torch.cat(sides, 1) if len(sides) > 1 else sides[0]

    with ExitStack() as hooks:
        # In this order: where the model is itself the layer, both run before one and the same call.
        hooks.callback(model.register_forward_pre_hook(begin).remove)
        for term, layer in terms:
            keep = _keeper(given[term.name])
            hooks.callback(layer.register_forward_pre_hook(keep, with_kwargs=True).remove)
        yield Capture(features)


@contextmanager
def capture_output(model: nn.Module, layer: str | None = None) -> Iterator[Capture]:
    """An object whose ``features`` (B, D) are what a layer gave in the latest forward of ``model``.

    For backbones without a classifier. The output may be (B, D), (B, 1, D) or (B, D, 1, 1); of a mapping, tuple or
    object its ``pooler_output`` counts, else its first tensor.

    model: the module that is called inside the ``with`` block.
    layer: as in ``model.named_modules()``; None: the model itself.

    Raises ValueError for an unknown layer; reading ``features`` raises it where the output is anything else, with the
    modules that do give one vector a row.
    """
    module = model if layer is None else layer_named(model, layer)
    outputs: list[Tensor | None] = []
    latest: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def begin(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        outputs.clear()
        latest[:] = [(args, kwargs)]

    def keep(_module: nn.Module, _args: Any, output: Any) -> None:
        found = tensor_of(output)
        # What is no row a sample would only take memory; a later in-place operation must not reach the rest.
        outputs.append(found if found is None or not is_rows(found) else found.detach().clone())

    def features() -> Tensor:
        if len(outputs) == 1 and outputs[0] is not None and is_rows(outputs[0]):
            return outputs[0].flatten(1)
        raise ValueError(_no_rows(model, layer, outputs, latest))

    with ExitStack() as hooks:
        hooks.callback(model.register_forward_pre_hook(begin, with_kwargs=True).remove)
        hooks.callback(module.register_forward_hook(keep).remove)
        yield Capture(features)


def tensor_of(output: Any) -> Tensor | None:
    """The tensor that stands for what a module returned: its ``pooler_output``, else the first tensor in it."""
    if isinstance(output, Tensor):
        return output
    pooled = output.get("pooler_output") if isinstance(output, Mapping) else getattr(output, "pooler_output", None)
    if isinstance(pooled, Tensor):
        return pooled
    values = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return next((value for value in values if isinstance(value, Tensor)), None)


def _keeper(kept: list[Tensor]) -> Callable[..., None]:
    return lambda _module, args, kwargs: kept.append(input_of(args, kwargs))


def _only(name: str, inputs: list[Tensor]) -> Tensor:
    """The input of the one call of a layer as rows; ValueError where there were more or none, or it has none."""
    if len(inputs) != 1:
        raise ValueError(
            f"layer {shown(name)} was called {len(inputs)} times in one forward, "
            "expected once: its inputs are not one feature vector a row; name another layer"
        )
    try:
        return rows_of(inputs[0])
    except ValueError as error:
        raise ValueError(f"layer {shown(name)}: {error}") from None


def _no_rows(
    model: nn.Module,
    layer: str | None,
    outputs: list[Tensor | None],
    latest: list[tuple[tuple[Any, ...], dict[str, Any]]],
) -> str:
    """Why a module's output is no features, and which modules' outputs are, found in one more forward."""
    what = "the model" if layer is None else f"layer {shown(layer)}"
    if len(outputs) != 1:
        return f"{what} was called {len(outputs)} times in one forward, expected once; name another layer"
    given = "no tensor" if outputs[0] is None else str(tuple(outputs[0].shape))
    names = [shown(name) for name in _giving_rows(model, *latest[0])]
    wanted = f"{what} gives {given}, expected one vector a row, (B, D) or (B, D, 1, 1)"
    if not names:
        return f"{wanted}; no module of it does: wrap the model in one that pools what it gives"
    return f"{wanted}; of those that do the last are {', '.join(names[-LISTED:])}: name one by layer= (--layer)"


def _giving_rows(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    """The modules whose output is one vector a row, in the order of execution."""
    found: dict[str, None] = {}

    def looker(name: str) -> Callable[..., None]:
        def look(_module: nn.Module, _args: Any, output: Any) -> None:
            value = tensor_of(output)
            if value is not None and value.is_floating_point() and is_rows(value):
                found[name] = None

        return look

    with ExitStack() as hooks, evaluating(model):
        for name, module in model.named_modules():
            if name:
                hooks.callback(module.register_forward_hook(looker(name)).remove)
        model(*args, **kwargs)
    return list(found)
