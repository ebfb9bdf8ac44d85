"""How many classes a checkpoint is for, whatever its architecture calls its classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from featurecache.models.naming import fitted


def number_in(
    state: Mapping[str, Tensor],
    build: Callable[[int], nn.Module],
    numbers: tuple[int, int] = (2, 3),
    *,
    checkpoint: str,
) -> int | None:
    """The number that an architecture must be built with to fit a checkpoint; None where no tensor of it tells.

    The architecture is built twice, without memory, with two numbers: a tensor whose shape follows the number is looked
    up in the checkpoint.

    state: its names may have a prefix, as featurecache.models.naming.fitted takes off.
    build: the architecture for a number of classes (or of channels, …).
    numbers: two different ones that it can be built with.
    checkpoint: what messages call the file.
    Raises ValueError where the checkpoint holds several such models.
    """
    with torch.device("meta"):
        low, high = ({name: value.shape for name, value in build(number).state_dict().items()} for number in numbers)
    found = fitted(state, low, checkpoint=checkpoint).state
    for name, shape in low.items():
        following = [
            axis for axis, pair in enumerate(zip(shape, high.get(name, shape), strict=True)) if pair == numbers
        ]
        if following and name in found and found[name].ndim == len(shape):
            return int(found[name].shape[following[0]])
    return None
