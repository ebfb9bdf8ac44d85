"""The training counterpart of a transform that a model evaluates with."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from PIL import Image

from featurecache.datasets.images import Transform
from featurecache.datasets.transforms import ImageTransform, TrainTransform
from featurecache.quoting import shown

# Plain pictures tell the size, the normalisation and the order of the channels, and nothing about the resampling.
COLOURS = ((0, 0, 0), (255, 255, 255), (200, 30, 90))
TOLERANCE = 1e-4  # in units of the normalised tensor: float32 against other orders of the same three operations


@runtime_checkable
class Evaluating(Protocol):
    """A transform that knows its plain form."""

    def image_transform(self) -> ImageTransform:
        """The ImageTransform of the same size, channels, mean, std and interpolation.

        Raises ValueError where there is none.
        """
        ...


def augmented(transform: Transform, *, flip: bool = True) -> TrainTransform:
    """Random crops, mirrored at random, with the size, channels, normalisation and interpolation of a transform.

    transform: PIL image -> float32 (C, H, W), with a method image_transform().
    flip: mirror left and right at random; wrong for digits, letters and anything with a handedness.
    Raises ValueError where the transform has no such method, or is not what it gives on plain pictures.
    """
    telling: object = transform
    if not isinstance(telling, Evaluating):
        raise ValueError(
            f"transform {_named(transform)} has no random crops: it has no method image_transform() that gives an "
            "ImageTransform of its size, channels, mean and std; leave augmented views out, or write that method"
        )
    plain = telling.image_transform()
    for colour in COLOURS:
        image = Image.new("RGB", (plain.size, plain.size), colour)
        ours, theirs = plain(image), transform(image)
        if ours.shape != theirs.shape:
            raise ValueError(
                f"transform {_named(transform)} has no random crops: it gives tensors {tuple(theirs.shape)}, "
                f"its image_transform() {tuple(ours.shape)}"
            )
        middle = plain.size // 2  # at the edges lies what is padded
        off = float((ours - theirs)[:, middle, middle].abs().max())
        if not off <= TOLERANCE * max(1.0, float(theirs.abs().max())):
            raise ValueError(
                f"transform {_named(transform)} has no random crops: a picture of the colour {colour} is not what the "
                f"same mean, std and channels make of it (they differ by {off:.3g}); leave augmented views out"
            )
    return TrainTransform(plain, flip=flip)


def _named(transform: object) -> str:
    describe = getattr(transform, "describe", None)
    return shown(describe() if callable(describe) else torch.typename(transform))
