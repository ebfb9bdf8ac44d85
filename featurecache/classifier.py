"""The classifier layer of any model: find it, prove it, read its input, replace it.

Nothing here knows an architecture. A layer is the classifier when its own numbers say so: its input x, one
vector a row, satisfies x @ W.T + b == logits, and whatever is added to its output arrives unchanged in the
logits. Names are those of ``model.named_modules()``; under DataParallel they keep the ``module.`` prefix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featurecache.layers import (
    LISTED,
    described,
    input_of,
    layer_named,
    linear_layers,
    listing,
    parameters_of,
    rows_of,
    shape_of,
)
from featurecache.proof import check_finite, logits_of, precision, prove
from featurecache.quoting import shown
from featurecache.replacement import replace_classifier

__all__ = ["Capture", "Classifier", "capture", "find_classifier", "logits_of", "prove", "replace_classifier"]


@dataclass(frozen=True, eq=False)
class Classifier:
    """The layer whose output is the logits, as detached float32 copies on the CPU.

    name: as in ``model.named_modules()``
    weight: (K, D)
    bias: (K,), zeros where the layer has none
    """

    name: str
    weight: Tensor
    bias: Tensor


class Capture:
    """What a layer was given in the model's latest forward; made by `capture`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._inputs: list[Tensor] = []

    @property
    def features(self) -> Tensor:
        """The layer's input (B, D), detached, in the dtype the layer computed with.

        Raises ValueError unless the latest forward called the layer exactly once, with one vector a row.
        """
        if len(self._inputs) != 1:
            raise ValueError(
                f"layer {shown(self._name)} was called {len(self._inputs)} times in one forward, "
                "expected once: its inputs are not one feature vector a row; name another layer"
            )
        try:
            return rows_of(self._inputs[0])
        except ValueError as error:
            raise ValueError(f"layer {shown(self._name)}: {error}") from None


@contextmanager
def capture(model: nn.Module, name: str) -> Iterator[Capture]:
    """An object whose ``features`` (B, D) are what the layer was given in the latest forward of ``model``.

    model: the module that is called inside the ``with`` block
    name: the layer, as in ``model.named_modules()``

    Raises ValueError for an unknown layer; reading ``features`` raises it where the layer was not called just
    once.
    """
    layer = layer_named(model, name)
    captured = Capture(name)

    def begin(_module: nn.Module, _args: Any) -> None:
        captured._inputs.clear()

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        captured._inputs.append(input_of(args, kwargs))

    with ExitStack() as hooks:
        # In this order: where the model is itself the layer, both run before one and the same call.
        hooks.callback(model.register_forward_pre_hook(begin).remove)
        hooks.callback(layer.register_forward_pre_hook(keep, with_kwargs=True).remove)
        yield captured


def find_classifier(model: nn.Module, example: Tensor, *, layer: str | None = None) -> Classifier:
    """The layer that provably makes the model's logits.

    The first forward looks at every nn.Linear and 1x1 nn.Conv2d that is called once and asks whether x @ W.T
    + b equals the logits. A second one adds noise to the output of a layer that passed: the logits must move
    by just that noise. Equal numbers alone are no proof: two heads that are averaged (distilled models) or an
    unused copy of the head have them too, above all while their weights are still zero. Where several layers
    pass both (an identity-like layer follows the classifier), each is a true answer and the one executed last
    is taken.

    The forwards run in eval mode without gradients; the training mode of every module comes back.

    model: any module that returns logits (B, K), see `logits_of`
    example: (B, ...), a batch as the model takes it
    layer: prove this layer or refuse; it may be any module with a ``weight`` (K, D)

    Raises ValueError with the candidates where there is no provable classifier.
    """
    watched = list(linear_layers(model)) if layer is None else [(layer, layer_named(model, layer))]
    with _evaluating(model):
        logits, calls = _observe(model, example, watched)
        check_finite(logits)
        misses: dict[str, str] = {}
        for name, module in reversed(watched if layer is not None else _in_order(calls)):
            inputs = [call.inputs for call in calls if call.layer is module]
            try:
                return _proved(model, example, name, module, inputs, logits)
            except ValueError as error:
                misses[name] = str(error)
    if layer is not None:
        raise ValueError(f"layer {shown(layer)} is not the model's classifier: {misses[layer]}")
    raise ValueError(_no_classifier(watched, misses, logits.shape[1]))


@dataclass(eq=False)
class _Call:
    """One call of one layer during a forward."""

    name: str
    layer: nn.Module
    inputs: Tensor


def _in_order(calls: list[_Call]) -> list[tuple[str, nn.Module]]:
    """The layers that were called, each once, in the order of execution."""
    return list({call.name: call.layer for call in calls}.items())


def _observe(model: nn.Module, example: Tensor, watched: Iterable[tuple[str, nn.Module]]) -> tuple[Tensor, list[_Call]]:
    """The logits of one forward, and the calls of the watched layers in the order of execution."""
    calls: list[_Call] = []
    with ExitStack() as hooks:
        for name, layer in watched:

            def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str = name) -> None:
                calls.append(_Call(name, module, input_of(args, kwargs)))

            hooks.callback(layer.register_forward_pre_hook(keep, with_kwargs=True).remove)
        logits = logits_of(model(example))
    return logits, calls


def _proved(
    model: nn.Module, example: Tensor, name: str, layer: nn.Module, inputs: list[Tensor], logits: Tensor
) -> Classifier:
    """The layer as the model's classifier; ValueError with the reason why it is not."""
    if len(inputs) != 1:
        raise ValueError(f"it is called {len(inputs)} times in one forward, expected once")
    features = rows_of(inputs[0])
    weight, bias = parameters_of(layer)
    prove(features, weight, bias, logits)
    if not _drives(model, example, layer, logits, precision(features, logits)):
        raise ValueError("its output equals the logits but does not make them alone")
    return Classifier(name, *(value.to("cpu", torch.float32, copy=True) for value in (weight, bias)))


def _drives(model: nn.Module, example: Tensor, layer: nn.Module, logits: Tensor, relative: float) -> bool:
    """Whether noise added to the layer's output arrives unchanged in the logits (B, K)."""
    scale = float(logits.abs().max()) or 1.0
    noise = scale * torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))

    def disturb(_module: nn.Module, _args: Any, output: Any) -> Any:
        fits = isinstance(output, Tensor) and output.numel() == noise.numel()
        return output + noise.to(output).reshape(output.shape) if fits else output

    with ExitStack() as hooks:
        hooks.callback(layer.register_forward_hook(disturb).remove)
        moved = logits_of(model(example)).cpu().double()
    expected = logits.cpu().double() + noise
    return float((moved - expected).abs().max()) <= relative * (scale + float(expected.abs().max()))


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients.

    Not torch.inference_mode: what a model computes on its first forward and keeps (position tables, masks)
    would stay an inference tensor and make the model untrainable.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _no_classifier(watched: list[tuple[str, nn.Module]], misses: Mapping[str, str], classes: int) -> str:
    """The refusal of a model, with its candidates: the layers with as many outputs as there are classes."""
    fitting = [(name, layer) for name, layer in watched if (shape_of(layer) or (0,))[0] == classes]
    said = "; ".join(
        f"{shown(name)} {described(layer)}: {misses.get(name, 'it is not called')}" for name, layer in fitting[-LISTED:]
    )
    return (
        f"no layer provably makes the model's {classes} logits ({said or listing(watched)}); "
        "a model that ends in a softmax must give its logits instead; if another kind of layer makes them, "
        "name it with layer= (--layer NAME)"
    )
