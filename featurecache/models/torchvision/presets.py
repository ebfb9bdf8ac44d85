"""What torchvision does to an image before one of its models reads it, from the numbers its weights come with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from torch import Tensor

from featurecache.datasets.decoding import MAX_PIXELS
from featurecache.datasets.transforms import ImageTransform
from featurecache.models.torchvision.library import import_torchvision
from featurecache.unreadable import Unreadable


@dataclass(frozen=True)
class TorchvisionTransform:
    """Called with a PIL image: what torchvision's preset for classifiers makes of it, float32 (3, size, size).

    size: pixels of the square that comes back.
    resize: pixels of the shorter side, of which the centre is cut out.
    mean, std: one value a channel, in units of [0, 1].
    interpolation: torchvision's name for it, such as "bilinear".
    antialias: whether tensors are smoothed when they shrink; PIL images always are.
    """

    size: int
    resize: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    antialias: bool | None = True

    def __post_init__(self) -> None:
        # Data loader processes get the numbers and build torchvision's steps again, its repair included.
        import_torchvision()
        from torchvision import transforms

        steps = [
            transforms.Resize(self.resize, transforms.InterpolationMode(self.interpolation), antialias=self.antialias),
            transforms.CenterCrop(self.size),
            transforms.ToTensor(),
            transforms.Normalize(self.mean, self.std),
        ]
        object.__setattr__(self, "_steps", transforms.Compose(steps))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.size, self.resize, self.mean, self.std, self.interpolation, self.antialias)

    def __call__(self, image: Image.Image) -> Tensor:
        width, height = image.size
        if max(width, height) * self.resize**2 > MAX_PIXELS * min(width, height):
            raise Unreadable(f"an image of {width} x {height} pixels is too thin to resize to {self.resize} pixels")
        tensor: Tensor = self.__dict__["_steps"](image.convert("RGB"))
        return tensor

    def describe(self) -> str:
        """The transform as one line of text; equal text, equal transform."""
        return (
            f"torchvision, shorter side to {self.resize} ({self.interpolation}), centre crop {self.size}, "
            f"RGB in [0, 1], mean {list(self.mean)}, std {list(self.std)}"
        )

    def changed(
        self,
        *,
        size: int | None = None,
        crop: float | None = None,
        interpolation: str | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> TorchvisionTransform:
        """The transform with other values.

        size, crop, interpolation, mean, std: as in ImageTransform; None: as it is. With another size the shorter side
            changes in proportion, with another crop it is round(size / crop).
        Raises ValueError when a value is out of its range.
        """
        to = self.image_transform().changed(size=size, crop=crop, interpolation=interpolation, mean=mean, std=std)
        kept = self.size / self.resize if crop is None else to.crop
        return replace(
            self,
            size=to.size,
            resize=round(to.size / kept),
            mean=to.mean,
            std=to.std,
            interpolation=to.interpolation,
        )

    def image_transform(self) -> ImageTransform:
        """The ImageTransform of the same size, mean, std and interpolation, that cuts out the same part."""
        return ImageTransform(
            size=self.size,
            channels=3,
            mean=self.mean,
            std=self.std,
            crop=self.size / self.resize,
            interpolation=self.interpolation,
        )


def preset_of(weights: Any) -> TorchvisionTransform:
    """The transform that published weights were judged with.

    weights: a member of one of torchvision's enumerations of weights for image classifiers.
    """
    own = weights.transforms()
    (size,), (resize,) = own.crop_size, own.resize_size
    return TorchvisionTransform(
        size, resize, tuple(own.mean), tuple(own.std), own.interpolation.value, getattr(own, "antialias", None)
    )
