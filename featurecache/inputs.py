"""What a model is called with: a tensor, or a structure of them as tokenizers and the like make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def call(model: nn.Module, inputs: Any) -> Any:
    """What the model returns.

    inputs: a mapping holds keyword arguments, a tuple or list positional ones; anything else is the only argument.
    """
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, tuple | list):
        return model(*inputs)
    return model(inputs)


def each(inputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same structure with every tensor changed.

    inputs: tensors, mappings, tuples and lists of them; anything else stays as it is.
    """
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, Mapping):
        return {key: each(value, change) for key, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return [each(value, change) for value in inputs]
    return inputs


def to_device(inputs: Any, device: torch.device, *, channels_last: bool = False) -> Any:
    """The same structure on the device, without waiting for the copy.

    channels_last: images (B, C, H, W) in that order of memory.
    """

    def move(value: Tensor) -> Tensor:
        if channels_last and value.ndim == 4:
            return value.to(device, non_blocking=True, memory_format=torch.channels_last)
        return value.to(device, non_blocking=True)

    return each(inputs, move)


def taken(inputs: Any, rows: int, wanted: Tensor) -> Any:
    """Some rows of the same structure.

    rows: B; a tensor of another length belongs to no row and stays. wanted: which rows, on the CPU.
    """
    return each(inputs, lambda value: value[wanted.to(value.device)] if value.ndim and len(value) == rows else value)
