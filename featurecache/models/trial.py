"""One plain picture through a model: what a transform and a module make of each other."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from featurecache.datasets.images import Transform
from featurecache.inputs import call
from featurecache.python_function import failure

SIZE = (320, 240)  # wider than high, so that an axis that was taken for the other shows


def tried_transform(transform: Transform, what: str) -> Tensor:
    """What the transform makes of a picture in which no two places are the same: floats (C, H, W).

    transform: as a model's.
    what: what messages call it.
    Raises ValueError when it fails or gives anything else.
    """
    try:
        made: object = transform(_picture())
    except Exception as error:  # the preprocessing of another library, or the user's own
        raise ValueError(f"{what} fails on an RGB picture: {failure(error)}") from error
    if not isinstance(made, Tensor) or made.ndim != 3 or not made.is_floating_point():
        found = f"{made.dtype} {tuple(made.shape)}" if isinstance(made, Tensor) else f"a {type(made).__name__[:80]}"
        raise ValueError(f"{what} makes {found} of a picture, expected a float tensor (C, H, W)")
    return made


def _picture() -> Image.Image:
    down, around = Image.linear_gradient("L"), Image.radial_gradient("L")
    return Image.merge("RGB", (down, down.rotate(90), around)).resize(SIZE)


def tried_model(module: nn.Module, image: Tensor, what: str) -> Any:
    """What the module returns for a batch of that one image.

    module: in eval mode.
    image: (C, H, W).
    what: what messages call the module.
    Raises ValueError when it fails.
    """
    # Not torch.inference_mode: what a model computes on its first forward and keeps must stay trainable.
    try:
        with torch.no_grad():
            return call(module, image[None])
    except Exception as error:  # whatever a model makes of a size it was not made for
        size = " x ".join(str(number) for number in image.shape)
        raise ValueError(f"{what} does not run on images of {size}: {failure(error)}") from error
