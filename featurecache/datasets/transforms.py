"""From a PIL image to the tensor a model reads: for evaluation, and with random crops for training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
MODES = {1: "L", 3: "RGB"}
MAX_SIZE = 8192

SCALE = 0.35
RATIO = (3 / 4, 4 / 3)

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ImageTransform:
    """Called with a PIL image: float32 (channels, size, size).

    The shorter side becomes round(size / crop) pixels, the centre size x size is cut out, scaled to [0, 1] and
    normalised. torchvision's Resize and CenterCrop give the same, but for two levels of 255 at most.

    size: pixels of the square that comes back.
    channels: 1 (grey) or 3 (RGB).
    mean, std: one value for all channels, or one a channel, in units of [0, 1].
    crop: part of the resized shorter side that is kept, in (0, 1].
    interpolation: a name in INTERPOLATIONS.
    Raises ValueError when a value is out of its range.
    """

    size: int
    channels: int = 3
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    crop: float = 0.875
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        _check_integer("size", self.size, range(1, MAX_SIZE + 1), f"an integer from 1 to {MAX_SIZE}")
        _check_integer("channels", self.channels, MODES, "1 (grey) or 3 (RGB)")
        if not isinstance(self.interpolation, str) or self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"transform: interpolation is {self.interpolation!r:.80}, expected one of {', '.join(INTERPOLATIONS)}"
            )
        crop = _numbers("crop", (self.crop,), 1)[0]
        if not 0.05 <= crop <= 1:
            raise ValueError(f"transform: crop is {crop!r}, expected a part of the image from 0.05 to 1")
        std = _numbers("std", self.std, self.channels)
        if min(std) <= 0:
            raise ValueError(f"transform: std is {std!r}, expected values above 0")
        object.__setattr__(self, "crop", crop)
        object.__setattr__(self, "mean", _numbers("mean", self.mean, self.channels))
        object.__setattr__(self, "std", std)

    def __call__(self, image: Image.Image) -> Tensor:
        width, height = image.size
        side, shorter = round(self.size / self.crop), min(width, height)
        wide, high = int(side * width / shorter), int(side * height / shorter)
        left, top = round((wide - self.size) / 2), round((high - self.size) / 2)
        x, y = width / wide, height / high
        right, bottom = min(width, (left + self.size) * x), min(height, (top + self.size) * y)
        return self.cut(image, (left * x, top * y, right, bottom))

    def cut(self, image: Image.Image, box: Box) -> Tensor:
        """One box of the image, resized to the square: float32 (channels, size, size), normalised.

        image: PIL image of any mode that converts to grey or RGB.
        box: left, top, right, bottom in pixels of the image, fractions allowed.
        """
        # Cutting inside the resampling equals resizing first, but a 1 x 60,000,000 image stays small.
        mode = MODES[self.channels]
        image = image if image.mode == mode else image.convert(mode)
        image = image.resize((self.size, self.size), INTERPOLATIONS[self.interpolation], box=box)
        pixels = np.asarray(image, dtype=np.float32).reshape(self.size, self.size, self.channels) / 255
        pixels = (pixels - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def describe(self) -> str:
        """The transform as one line of text; equal text, equal transform."""
        return (
            f"shorter side to {round(self.size / self.crop)} ({self.interpolation}), centre crop {self.size}, "
            f"{MODES[self.channels]} in [0, 1], mean {list(self.mean)}, std {list(self.std)}"
        )

    def changed(
        self,
        *,
        size: int | None = None,
        crop: float | None = None,
        interpolation: str | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> ImageTransform:
        """The transform with other values.

        size, crop, interpolation, mean, std: as above; None: as it is.
        Raises ValueError when a value is out of its range.
        """
        asked = {"size": size, "crop": crop, "interpolation": interpolation, "mean": mean, "std": std}
        given: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
        return replace(self, **given)

    def image_transform(self) -> ImageTransform:
        """This transform: it is its own plain form, which every other kind is asked for by this name."""
        return self

    def to_dict(self) -> dict[str, object]:
        """The transform as plain JSON types, for from_dict."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: object) -> ImageTransform:
        """The transform that to_dict described.

        values: a mapping with exactly the fields of an ImageTransform.
        Raises ValueError when a field is missing, unknown or out of its range.
        """
        fields = cls.__dataclass_fields__
        if not isinstance(values, Mapping) or set(values) != set(fields):
            raise ValueError(f"transform: expected a mapping with exactly {', '.join(fields)}")
        return cls(**values)


@dataclass(frozen=True)
class TrainTransform:
    """Called with a PIL image: float32 (channels, size, size) of a random crop, mirrored half of the time.

    The crop covers `scale` to 1 of the area with a width/height from 3/4 to 4/3 (Szegedy et al. 2015, as torchvision's
    RandomResizedCrop). Randomness comes from torch's default generator, so seeds of DataLoader workers hold.

    evaluation: what the model reads outside training: its size, channels and normalisation are used.
    flip: mirror left and right at random; wrong for digits, letters and anything with a handedness.
    scale: the smallest share of the area, above 0 and at most 1. ValueError for another.
    """

    evaluation: ImageTransform
    flip: bool = True
    scale: float = SCALE

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1:
            raise ValueError(f"transform: scale is {self.scale!r}, expected a share of the area such as 0.08")

    def __call__(self, image: Image.Image) -> Tensor:
        pixels = self.evaluation.cut(image, random_box(*image.size, self.scale))
        return pixels.flip(-1) if self.flip and torch.rand(()).item() < 0.5 else pixels

    def describe(self) -> str:
        """The transform as one line of text; equal text, equal distribution."""
        mirrored = "mirrored at random, " if self.flip else ""
        crop = f"random crop of area {self.scale:g} to 1 and ratio 3/4 to 4/3"
        return f"{crop}, {mirrored}then {self.evaluation.describe()}"


def random_box(width: int, height: int, scale: float = SCALE) -> Box:
    """A random crop: left, top, right, bottom.

    width, height: pixels of the image. scale: the smallest share of its area.
    """
    for _ in range(10):
        area = width * height * torch.empty(()).uniform_(scale, 1.0).item()
        ratio = math.exp(torch.empty(()).uniform_(math.log(RATIO[0]), math.log(RATIO[1])).item())
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left = int(torch.randint(0, width - w + 1, ()).item())
            top = int(torch.randint(0, height - h + 1, ()).item())
            return left, top, left + w, top + h
    # Too long or too tall for every try: the largest central part whose ratio is allowed.
    w, h = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))
    w, h = max(w, 1), max(h, 1)
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _check_integer(name: str, value: object, allowed: object, expected: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:  # type: ignore[operator]
        raise ValueError(f"transform: {name} is {value!r:.80}, expected {expected}")


def _numbers(name: str, values: object, count: int) -> tuple[float, ...]:
    """Finite floats, one a channel. values: one, or count of them, in a tuple or list."""
    good = isinstance(values, tuple | list) and len(values) in (1, count)
    if good and isinstance(values, tuple | list):
        good = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)
        if good:
            numbers = tuple(float(v) for v in values)
            return numbers if len(numbers) == count else numbers * count
    raise ValueError(f"transform: {name} is {values!r:.80}, expected 1 or {count} finite numbers")
