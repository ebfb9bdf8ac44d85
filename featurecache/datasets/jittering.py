"""Random changes of colour in training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from featurecache.datasets.transforms import ImageTransform

GREY = (0.299, 0.587, 0.114)  # of red, green and blue in what Pillow calls L


class Training(Protocol):
    """A random transform around a model's own."""

    @property
    def evaluation(self) -> ImageTransform: ...

    def __call__(self, image: Image.Image) -> Tensor: ...

    def describe(self) -> str: ...


@dataclass(frozen=True)
class JitterTransform:
    """Called with a PIL image: another transform's tensor with brightness, contrast and saturation changed at random.

    Each by a factor from 1 - strength to 1 + strength, in a random order, as in the paper's recipe for ImageNet-LT
    (0.4). Grey images have no saturation. Randomness comes from torch's default generator.

    transform: another training transform. strength: from 0 to 1.
    Raises ValueError for another strength.
    """

    transform: Training
    strength: float

    def __post_init__(self) -> None:
        if not (0 <= self.strength <= 1 and math.isfinite(self.strength)):
            raise ValueError(f"transform: jitter is {self.strength!r}, expected a number from 0 to 1, such as 0.4")

    @property
    def evaluation(self) -> ImageTransform:
        """What the model reads outside training."""
        return self.transform.evaluation

    def __call__(self, image: Image.Image) -> Tensor:
        mean, std = (torch.tensor(v)[:, None, None] for v in (self.evaluation.mean, self.evaluation.std))
        pixels = self.transform(image) * std + mean
        changes: tuple[Callable[[Tensor], Tensor], ...] = (torch.zeros_like, _mean_grey, _grey)
        for which in torch.randperm(len(changes)).tolist():
            factor = 1 + self.strength * (2 * torch.rand(()) - 1)
            pixels = torch.lerp(changes[which](pixels), pixels, factor).clamp_(0, 1)
        return (pixels - mean) / std

    def describe(self) -> str:
        """The transform as one line of text; equal text, equal distribution."""
        return f"{self.transform.describe()}, colours changed by up to {self.strength:g}"


def _grey(pixels: Tensor) -> Tensor:
    if len(pixels) == 1:
        return pixels
    return (pixels * torch.tensor(GREY)[:, None, None]).sum(0, keepdim=True).expand_as(pixels)


def _mean_grey(pixels: Tensor) -> Tensor:
    return _grey(pixels).mean().expand_as(pixels)
