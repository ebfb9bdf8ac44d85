"""Training a part of a model: which layers that is, and the rest held still.

What does not train is in eval mode as well, dropout included, and the statistics of its batch normalisation do not
move. (The paper's code keeps its frozen backbone in training mode, so those statistics follow the sampler there.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from featurecache.inputs import call
from featurecache.quoting import shown

FREEZES = ("none", "backbone", "last-block")


def trained_parts(model: nn.Module, example: Any, classifier: str, freeze: str) -> tuple[str, ...] | None:
    """The names of the modules that train; None for the whole model.

    model: in eval mode. example: a batch as the model takes it.
    classifier: its name, as in ``model.named_modules()``; "a+b" names several whose outputs are added.
    freeze: none; backbone: only the classifier trains; last-block: see `last_block`.
    Raises ValueError for anything else, and where there is no block before the classifier.
    """
    if freeze == "none":
        return None
    if freeze == "backbone":
        return tuple(classifier.split("+"))
    if freeze == "last-block":
        return (*last_block(model, example, classifier), *classifier.split("+"))
    raise ValueError(f"freeze is {freeze!r:.80}, expected {', '.join(FREEZES)}")


def last_block(model: nn.Module, example: Any, classifier: str) -> tuple[str, ...]:
    """The names of the trunk's last block and of what follows it before the classifier, such as a normalisation.

    The block is the largest module around the trunk's last weight layer that holds no more than half of the trunk's
    weight layers: layer4 of a ResNet, the last encoder layer of a transformer. Order is that of execution; a weight
    layer is a module with a parameter of two dimensions or more of its own.

    model, example, classifier: as in `trained_parts`.
    Raises ValueError where nothing with weights runs before the classifier.
    """
    order = _executed(model, example, classifier)
    layers = [name for name in order if any(p.ndim > 1 for p in model.get_submodule(name).parameters(recurse=False))]
    if not layers:
        raise ValueError(f"no layer with weights runs before the classifier {shown(classifier)}; freeze nothing")
    parts = layers[-1].split(".")
    around = [".".join(parts[: depth + 1]) for depth in range(len(parts))]
    fitting = [
        name
        for name in around
        if not any(_within(head, name) for head in classifier.split("+"))
        and 2 * sum(_within(layer, name) for layer in layers) <= len(layers)
    ]
    block = fitting[0] if fitting else layers[-1]
    after = order[order.index(layers[-1]) + 1 :]
    return (block, *(name for name in after if not _within(name, block)))


@contextmanager
def held(model: nn.Module, parts: Sequence[str] | None) -> Iterator[Callable[[], None]]:
    """Within the block only these modules have gradients; yields what puts just them into training mode.

    model: afterwards its parameters ask for gradients as before.
    parts: names of modules; None: all of it.
    Raises ValueError where no parameter would train.
    """
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    trained = [model] if parts is None else [model.get_submodule(name) for name in parts]
    wanted = {id(parameter) for module in trained for parameter in module.parameters()}
    if not any(asked for parameter, asked in before if id(parameter) in wanted):
        raise ValueError("training: no parameter of the model would train; expected at least one")

    def begin() -> None:
        model.eval()
        for module in trained:
            module.train()

    try:
        for parameter, asked in before:
            parameter.requires_grad_(asked and id(parameter) in wanted)
        yield begin
    finally:
        for parameter, asked in before:
            parameter.requires_grad_(asked)


def _executed(model: nn.Module, example: Any, classifier: str) -> list[str]:
    """The modules with parameters of their own that finish before the classifier begins, each at its last call."""
    heads = classifier.split("+")
    finished: dict[str, None] = {}
    found: list[str] = []
    with ExitStack() as hooks, torch.no_grad():
        for name, module in model.named_modules():
            if any(True for _ in module.parameters(recurse=False)) and name not in heads:

                def keep(_module: nn.Module, _args: Any, _output: Any, name: str = name) -> None:
                    finished.pop(name, None)
                    finished[name] = None

                hooks.callback(module.register_forward_hook(keep).remove)

        def reached(_module: nn.Module, _args: Any) -> None:
            found[:] = finished

        for head in heads:
            hooks.callback(model.get_submodule(head).register_forward_pre_hook(reached).remove)
        call(model, example)
    return found


def _within(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")
