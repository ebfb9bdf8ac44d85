"""Forwards that are looked into: what layers were given, what they gave, and what their outputs do to the logits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featurecache.inputs import call
from featurecache.layers import input_of, is_rows
from featurecache.proof import logits_of

Change = Callable[[Tensor], Tensor]
"""What takes the place of a layer's output."""


@dataclass(eq=False)
class Call:
    """One call of one layer during a forward.

    name, layer: as in ``model.named_modules()``.
    inputs: what it was given, see `featurecache.layers.input_of`.
    output: (B, K) or such, detached, in the layer's own dtype; None where it gave something else.
    """

    name: str
    layer: nn.Module
    inputs: Tensor
    output: Tensor | None = None


def observe(
    model: nn.Module,
    example: Any,
    watched: Iterable[tuple[str, nn.Module]],
    changes: Mapping[nn.Module, Change] | None = None,
) -> tuple[Tensor, list[Call]]:
    """The logits (B, K) of one forward, and the calls of the watched layers in the order of execution.

    model: is called with ``example``, see `featurecache.inputs.call`.
    watched: layers with their names.
    changes: what takes the place of layers' outputs; calls hold the outputs from before.
    """
    calls: list[Call] = []
    with ExitStack() as hooks:
        for name, layer in watched:
            before, after = _watchers(calls, name)
            hooks.callback(layer.register_forward_pre_hook(before, with_kwargs=True).remove)
            hooks.callback(layer.register_forward_hook(after).remove)
        for layer, change in (changes or {}).items():
            hooks.callback(layer.register_forward_hook(_changer(change)).remove)
        logits = logits_of(call(model, example))
    return logits, calls


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients, what is compiled uncompiled; every module as it was afterwards.

    Not torch.inference_mode: what a model computes on its first forward and keeps (position tables, masks)
    would stay an inference tensor and make the model untrainable.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    with ExitStack() as surroundings:
        surroundings.enter_context(torch.no_grad())
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and importing it takes a second
            # Every forward here has other hooks: each would be compiled anew.
            surroundings.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def _watchers(calls: list[Call], name: str) -> tuple[Callable[..., None], Callable[..., None]]:
    """What runs before and after the layer of this name."""

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append(Call(name, module, input_of(args, kwargs)))

    def after(module: nn.Module, _args: Any, output: Any) -> None:
        begun = next(call for call in reversed(calls) if call.layer is module)
        if isinstance(output, Tensor) and output.is_floating_point() and is_rows(output):
            begun.output = output.detach().clone()

    return before, after


def _changer(change: Change) -> Callable[..., Any]:
    return lambda _module, _args, output: change(output) if isinstance(output, Tensor) else output
