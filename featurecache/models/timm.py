"""Models of timm: `timm:NAME[.TAG]`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image
from torch import Tensor, nn

from featurecache.checkpoint import load_state
from featurecache.datasets.transforms import MODES
from featurecache.models.model import Model, load_weights
from featurecache.models.torchvision import import_torchvision
from featurecache.quoting import shown


def open_timm(
    name: str, *, checkpoint: Path | None = None, num_classes: int | None = None, image_size: int | None = None
) -> Model:
    """A trained model of timm, its transform from timm's data configuration.

    name: a name of timm's, with or without a tag.
    checkpoint: its weights; the rows of the classifier in them are its K. None: timm's own, from the cache or the
        network.
    num_classes: K where the checkpoint's classifier is not found by timm's name for it; without a checkpoint, the K
        that timm's weights must have.
    image_size: pixels of the square that is read; None: as timm says.
    Raises ValueError when timm is not installed or does not know the name, or when the weights cannot be had.
    """
    timm = import_timm()
    _check_name(timm, name)
    size = {} if image_size is None else _size_argument(timm, name, image_size)
    if checkpoint is None:
        module = _pretrained(timm, name, num_classes, size)
    else:
        state = load_state(checkpoint)
        classes = _classifier_rows(timm, name, state) or num_classes
        own = {} if classes is None else {"num_classes": classes}
        module = timm.create_model(name, pretrained=False, **own, **size)
        load_weights(module, state, source=f"timm:{name}", checkpoint=shown(checkpoint))
    config = timm.data.resolve_data_config({}, model=module)
    if image_size is not None:
        config["input_size"] = (config["input_size"][0], image_size, image_size)
    transform = TimmTransform(json.dumps(config, sort_keys=True))
    return Model(module.eval(), transform, transform.describe(), None, f"timm:{name}")


def new_timm(name: str, *, num_classes: int, channels: int, image_size: int) -> nn.Module:
    """A model of timm with random weights.

    name: a name of timm's.
    num_classes, channels, image_size: K, channels and pixels of the images.
    Raises ValueError when timm is not installed, does not know the name or cannot build it like this.
    """
    timm = import_timm()
    _check_name(timm, name)
    try:
        module: nn.Module = timm.create_model(
            name,
            pretrained=False,
            num_classes=num_classes,
            in_chans=channels,
            **_size_argument(timm, name, image_size),
        )
    except Exception as error:  # whatever a model's constructor makes of numbers it was not made for
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(
            f"timm:{name} cannot be built for {channels} x {image_size} x {image_size} images: {problem}"
        ) from error
    return module


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
        """The transform as one line of text."""
        return f"timm {self.config}"


def import_timm() -> ModuleType:
    """timm itself. Raises ValueError when it, or torchvision which it needs, is not installed."""
    try:
        import_torchvision()
        import timm
        import timm.data
    except ModuleNotFoundError as error:
        raise ValueError(
            f"timm models need timm and torchvision, and {error.name} is not installed: install the extra, "
            "pip install 'featurecache-rebalance[timm]'"
        ) from error
    module: ModuleType = timm
    return module


def knows(name: str) -> bool:
    """Whether timm is installed and has a model of this name."""
    try:
        return bool(import_timm().is_model(name))
    except ValueError:
        return False


def _check_name(timm: ModuleType, name: str) -> None:
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ValueError(f"timm has no model {shown(name)}{hint}")
    try:
        timm.models.get_pretrained_cfg(name)
    except RuntimeError:
        bare, _, tag = name.partition(".")
        raise ValueError(f"timm's {shown(bare)} has no weights {shown(tag)}; leave the tag out or correct it") from None


def _size_argument(timm: ModuleType, name: str, image_size: int) -> dict[str, int]:
    """Only models tied to one size take it as an argument; others read any and refuse to be told."""
    tied = getattr(timm.models.get_pretrained_cfg(name), "fixed_input_size", False)
    return {"img_size": image_size} if tied else {}


def _pretrained(timm: ModuleType, name: str, num_classes: int | None, size: Mapping[str, int]) -> nn.Module:
    config = timm.models.get_pretrained_cfg(name)
    if config is not None and num_classes not in (None, config.num_classes):
        # timm would put a random classifier in place of the trained one, without a word.
        raise ValueError(
            f"timm:{name} comes with a classifier of {config.num_classes} classes, the data have {num_classes}; "
            "pass --checkpoint with weights trained on these classes"
        )
    try:
        module: nn.Module = timm.create_model(name, pretrained=True, **size)
    except Exception as error:  # the network's, the hub's and timm's own, of a dozen types
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(
            f"timm:{name}: its weights could not be fetched; pass --checkpoint FILE with weights from disk ({problem})"
        ) from error
    return module


def _classifier_rows(timm: ModuleType, name: str, state: Mapping[str, Any]) -> int | None:
    """K of the classifier in a checkpoint, by timm's name for it; None where that does not tell."""
    layer = getattr(timm.models.get_pretrained_cfg(name), "classifier", None)
    weight = state.get(f"{layer}.weight") if isinstance(layer, str) else None
    return None if weight is None or weight.ndim == 0 else int(weight.shape[0])
