"""The image processor of a Hugging Face model as a transform."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from PIL import Image
from torch import Tensor

from featurecache.datasets.transforms import INTERPOLATIONS, MODES, ImageTransform
from featurecache.models.huggingface.library import import_transformers, quiet
from featurecache.models.huggingface.settings import cropped, normalised, resized

CLASS, MODE = "image_processor", "mode"
WAY_OUT = "pass --transform size=PIXELS, another with mean=… and one with std=…, or --transform file:path.py:function"


@dataclass(frozen=True)
class ProcessorTransform:
    """Called with a PIL image: what the model's own image processor makes of it, float32 (C, H, W).

    Of a processor that exists twice, the one that resizes with Pillow is taken, whether torchvision is installed or
    not: its pixels are the same everywhere.

    config: the processor's class, its settings and the mode of the images, as JSON.
    """

    config: str

    def __post_init__(self) -> None:
        # Data loader processes get the text and build the processor again, torchvision's repair included.
        transformers = import_transformers()
        settings = json.loads(self.config)
        kind, mode = getattr(transformers, settings.pop(CLASS)), settings.pop(MODE)
        with quiet(transformers):
            object.__setattr__(self, "_processor", kind.from_dict(settings))
        object.__setattr__(self, "_mode", mode)

    def __reduce__(self) -> tuple[type[ProcessorTransform], tuple[str]]:
        return ProcessorTransform, (self.config,)

    def __call__(self, image: Image.Image) -> Tensor:
        made = self.__dict__["_processor"](images=image.convert(self.__dict__["_mode"]), return_tensors="pt")
        pixels: Tensor = made["pixel_values"][0]
        return pixels

    def describe(self) -> str:
        """The transform as one line of text; equal text, equal transform."""
        return f"transformers {self.config}"

    def changed(
        self,
        *,
        size: int | None = None,
        crop: float | None = None,
        interpolation: str | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> ProcessorTransform:
        """The transform with other values.

        size, crop, interpolation, mean, std: as in ImageTransform; None: as it is.
        Raises ValueError when a value is out of its range, or the processor has no setting for it.
        """
        settings: dict[str, Any] = json.loads(self.config)
        checked = ImageTransform(size=1, channels=len(settings[MODE])).changed(
            size=size, crop=crop, interpolation=interpolation, mean=mean, std=std
        )
        if size is not None:
            settings |= resized(settings, size)
        if crop is not None:
            settings |= cropped(settings, crop)
        if interpolation is not None:
            settings["resample"] = int(INTERPOLATIONS[interpolation])
        if mean is not None or std is not None:
            settings |= normalised(settings, mean and checked.mean, std and checked.std)
        other = ProcessorTransform(json.dumps(settings, sort_keys=True))
        if size is not None:
            _check_size(other, size)
        if crop is not None:
            _check_crop(other, crop)
        if mean is not None or std is not None:
            _check_normalisation(other, settings)
        return other

    def image_transform(self) -> ImageTransform:
        """The ImageTransform of the same size, channels, mean, std and interpolation; it crops the whole shorter side.

        Mean and std are read off a black and a white picture, since processors scale and shift in ways of their own.

        Raises ValueError where the images that come out are not square, or are not normalised with a mean and a std.
        """
        settings: dict[str, Any] = json.loads(self.config)
        black, white = (self(Image.new("RGB", (64, 64), colour)) for colour in ("black", "white"))
        channels, height, width = black.shape
        per_channel = (white - black).double().mean((1, 2))
        if height != width or not bool((per_channel > 0).all()):
            raise ValueError(
                f"the image processor {settings[CLASS]} makes {channels} x {height} x {width} of a picture: not a "
                "square with a mean and a std for every channel"
            )
        means = -black.double().mean((1, 2)) / per_channel
        names = {int(number): name for name, number in INTERPOLATIONS.items()}
        return ImageTransform(
            size=height,
            channels=channels,
            mean=_declared(settings.get("image_mean"), means.tolist()),
            std=_declared(settings.get("image_std"), (1 / per_channel).tolist()),
            crop=1.0,
            interpolation=names[settings.get("resample", int(INTERPOLATIONS["bilinear"]))],
        )


@dataclass(frozen=True)
class MissingTransform:
    """The transform of a model that came without one: it refuses a picture, and can be told what is missing.

    missing: the refusal.
    size: pixels, where the model says them.
    channels: of the images the model reads.
    """

    missing: str
    size: int | None
    channels: int

    def __call__(self, image: Image.Image) -> Tensor:
        raise ValueError(self.missing)

    def describe(self) -> str:
        """That there is none."""
        return "none"

    def changed(
        self,
        *,
        size: int | None = None,
        crop: float | None = None,
        interpolation: str | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> ImageTransform:
        """A transform from what is given.

        size, mean, std: needed (size only where the model does not say it).
        crop, interpolation: as in ImageTransform; None: its own choice.
        Raises ValueError when a needed one is not given, or a value is out of its range.
        """
        pixels = self.size if size is None else size
        if pixels is None or mean is None or std is None:
            raise ValueError(self.missing)
        plain = ImageTransform(pixels, self.channels, mean, std)
        return plain.changed(crop=crop, interpolation=interpolation)


def processor_transform(transformers: ModuleType, processor: Any, channels: int) -> ProcessorTransform:
    """The transform of an image processor.

    transformers: as import_transformers gives it.
    processor: an image processor of transformers' own.
    channels: of the images the model reads, 1 or 3.
    Raises ValueError when it is of another kind, or for other channels.
    """
    kind = type(processor).__name__
    if channels not in MODES:
        raise ValueError(f"a model of {channels} channels reads no images; expected 1 or 3")
    if getattr(transformers, kind, None) is not type(processor):
        raise ValueError(f"its image processor {kind[:80]} is not one of transformers' own; {WAY_OUT}")
    settings = {key: value for key, value in processor.to_dict().items() if value is not None}
    settings |= {CLASS: kind, MODE: MODES[channels]}
    return ProcessorTransform(json.dumps(settings, sort_keys=True))


def _check_size(transform: ProcessorTransform, size: int) -> None:
    """ValueError unless squares of that size come out."""
    shape = tuple(transform(Image.new("RGB", (64, 48))).shape)
    if shape[1:] != (size, size):
        raise ValueError(f"transform: size cannot be changed: with size={size} the image processor gives {shape}")


def _check_normalisation(transform: ProcessorTransform, settings: dict[str, Any]) -> None:
    """ValueError unless that mean and std come out: some processors do not normalise, whatever their settings."""
    plain = transform.image_transform()
    for key, made in (("mean", plain.mean), ("std", plain.std)):
        asked = tuple(settings[f"image_{key}"])
        if made != asked:
            raise ValueError(
                f"transform: {key} cannot be changed: with {key}={asked} the image processor normalises with {made}"
            )


def _check_crop(transform: ProcessorTransform, crop: float) -> None:
    """ValueError unless that part of a square comes out: some processors resize in ways that no setting tells."""
    ramp = Image.linear_gradient("L").rotate(90).convert("RGB")  # grows by one a column, from 0 to 255
    row = transform(ramp).double()[0].mean(0)
    full = transform(Image.new("RGB", (64, 64), "white"))[0].mean() - transform(Image.new("RGB", (64, 64)))[0].mean()
    kept = abs(float((row[-1] - row[0]) / full)) * len(row) / max(1, len(row) - 1)
    if not abs(kept - crop) <= 0.03:  # the half pixels at the edges of the smallest images that models read
        raise ValueError(
            f"transform: crop cannot be changed: with crop={crop:g} the image processor keeps {kept:.2f} of a square"
        )


def _declared(declared: object, measured: list[float]) -> tuple[float, ...]:
    """The numbers in the settings where they are the ones that were measured; else the measured ones.

    measured: with the rounding of float32 in them, which ends before the sixth digit.
    """
    if isinstance(declared, list | tuple) and len(declared) == len(measured):
        numbers = tuple(float(number) for number in declared)
        if all(abs(a - b) <= 1e-5 * max(1.0, abs(b)) for a, b in zip(numbers, measured, strict=True)):
            return numbers
    return tuple(float(f"{number:.6g}") + 0.0 for number in measured)  # + 0.0: no minus before a zero
