"""timm's own evaluation transform, from its data configuration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from featurecache.datasets.transforms import MODES, ImageTransform
from featurecache.models.timm.library import import_timm


@dataclass(frozen=True)
class TimmTransform:
    """Called with a PIL image: what timm's own evaluation transform makes of it, float32 (C, H, W).

    config: timm's data configuration as JSON.
    """

    config: str

    def __post_init__(self) -> None:
        # Data loader processes get the text and build timm's transform again, torchvision's repair included.
        timm = import_timm()
        config = json.loads(self.config)
        object.__setattr__(self, "_mode", MODES.get(config["input_size"][0]))
        if self.__dict__["_mode"] is None:
            raise ValueError(f"timm: a model of {config['input_size'][0]} channels reads no images; expected 1 or 3")
        object.__setattr__(self, "_transform", timm.data.create_transform(**config, is_training=False))

    def __reduce__(self) -> tuple[type[TimmTransform], tuple[str]]:
        return TimmTransform, (self.config,)

    def __call__(self, image: Image.Image) -> Tensor:
        tensor: Tensor = self.__dict__["_transform"](image.convert(self.__dict__["_mode"]))
        return tensor

    def describe(self) -> str:
        """The transform as one line of text; equal text, equal transform."""
        return f"timm {self.config}"

    def changed(
        self,
        *,
        size: int | None = None,
        crop: float | None = None,
        interpolation: str | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> TimmTransform:
        """The transform with other values.

        size, crop, interpolation, mean, std: as in ImageTransform; crop is timm's crop_pct. None: as it is.
        Raises ValueError when a value is out of its range.
        """
        config: dict[str, Any] = json.loads(self.config)
        channels = config["input_size"][0]
        checked = ImageTransform(size=1, channels=channels).changed(
            size=size, crop=crop, interpolation=interpolation, mean=mean, std=std
        )
        changes = {
            "input_size": None if size is None else [channels, size, size],
            "crop_pct": crop,
            "interpolation": interpolation,
            "mean": None if mean is None else checked.mean,
            "std": None if std is None else checked.std,
        }
        config |= {key: value for key, value in changes.items() if value is not None}
        return TimmTransform(json.dumps(config, sort_keys=True))

    def image_transform(self) -> ImageTransform:
        """The ImageTransform of the same size, channels, mean, std and interpolation; it crops the centre as timm does.

        Raises ValueError where the images that come out are not square.
        """
        config: dict[str, Any] = json.loads(self.config)
        channels, height, width = config["input_size"]
        if height != width:
            raise ValueError(f"timm: a model that reads {height} x {width} pixels has no square transform")
        return ImageTransform(
            size=height,
            channels=channels,
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            crop=min(1.0, config["crop_pct"]),  # above 1, timm pads: there is less than the whole image to cut
            interpolation=config["interpolation"],
        )


def data_config(model: object, *, channels: int, image_size: int | None) -> str:
    """timm's data configuration of a model as JSON, for TimmTransform.

    model: a model of timm, or what timm calls its pretrained_cfg.
    channels: of its images; where timm's mean and std are for another number, their average stands for each channel,
        as in timm's own loader.
    image_size: pixels of the square that is read; None: as timm says.
    """
    resolve = import_timm().data.resolve_data_config
    config: dict[str, Any] = resolve({}, model) if isinstance(model, dict) else resolve({}, model=model)
    _, height, width = config["input_size"]
    config["input_size"] = [channels, height, width] if image_size is None else [channels, image_size, image_size]
    for key in ("mean", "std"):
        if len(config[key]) != channels:
            config[key] = [sum(config[key]) / len(config[key])] * channels
    return json.dumps(config, sort_keys=True)
