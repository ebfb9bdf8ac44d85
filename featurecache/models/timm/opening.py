"""Models of timm: `timm:NAME[.TAG]`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from featurecache.checkpoint import load_state
from featurecache.models.class_count import number_in
from featurecache.models.model import Model, load_weights
from featurecache.models.naming import fitted
from featurecache.models.timm.library import check_name, import_timm
from featurecache.models.timm.transform import TimmTransform, data_config
from featurecache.python_function import failure
from featurecache.quoting import shown


def open_timm(
    name: str,
    *,
    checkpoint: Path | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
    ema: bool = False,
) -> Model:
    """A trained model of timm, its transform from timm's data configuration.

    name: a name of timm's, with or without a tag.
    checkpoint: its weights, which tell K and the channels; without a classifier in them the model gives features.
        None: timm's own, from the cache or the network.
    num_classes: the K that timm's own weights must have; a checkpoint tells it itself.
    image_size: pixels of the square that is read; None: as timm says.
    ema: take the averaged weights of the checkpoint.
    Raises ValueError when timm is not installed or does not know the name, or when the weights cannot be had.
    """
    timm = import_timm()
    check_name(timm, name)
    size = {} if image_size is None else _size_argument(timm, name, image_size)
    notes: tuple[str, ...]
    if checkpoint is None:
        module, channels, notes = _pretrained(timm, name, num_classes, size), 3, ()
    else:
        state = load_state(checkpoint, ema=ema)
        module, channels, notes = _with_weights(timm, name, state, size, shown(checkpoint))
    transform = TimmTransform(data_config(module, channels=channels, image_size=image_size))
    return Model(
        module.eval(),
        transform,
        transform.describe(),
        None,
        f"timm:{name}",
        has_head=getattr(module, "num_classes", None) != 0,
        notes=notes,
    )


def new_timm(name: str, *, num_classes: int, channels: int, image_size: int) -> nn.Module:
    """A model of timm with random weights.

    name: a name of timm's.
    num_classes, channels, image_size: K, channels and pixels of the images.
    Raises ValueError when timm is not installed, does not know the name or cannot build it like this.
    """
    timm = import_timm()
    check_name(timm, name)
    try:
        module: nn.Module = timm.create_model(
            name,
            pretrained=False,
            num_classes=num_classes,
            in_chans=channels,
            **_size_argument(timm, name, image_size),
        )
    except Exception as error:  # whatever a model's constructor makes of numbers it was not made for
        raise ValueError(
            f"timm:{name} cannot be built for {channels} x {image_size} x {image_size} images: {failure(error)}"
        ) from error
    return module


def in_timms_names(
    timm: ModuleType, name: str, state: Mapping[str, Tensor], *, checkpoint: str
) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """The state dict as timm names it and a note, where the architecture's authors named it otherwise; else as it is.

    timm: as import_timm gives it.
    name: a name of timm's.
    state: of a checkpoint.
    checkpoint: what messages call the file.
    """
    # Most families bring this function for the files of their authors; the rest never had other names.
    family = getattr(timm.models, timm.models.model_entrypoint(name).__module__.rpartition(".")[2], None)
    convert = getattr(family, "checkpoint_filter_fn", None)
    if convert is None:
        return state, ()
    with torch.device("meta"):
        skeleton: nn.Module = timm.create_model(name, pretrained=False)
    own = skeleton.state_dict()
    bare = fitted(state, own, checkpoint=checkpoint).state
    try:
        converted: Mapping[str, Tensor] = convert(dict(bare), skeleton)
    except Exception:  # names it was not made for: they are another architecture's, which load_weights says better
        return state, ()
    if sum(key in own for key in converted) <= sum(key in own for key in bare):
        return state, ()
    return converted, (f"checkpoint {checkpoint}: its tensors were given timm's names",)


def _with_weights(
    timm: ModuleType, name: str, state: Mapping[str, Tensor], size: Mapping[str, int], checkpoint: str
) -> tuple[nn.Module, int, tuple[str, ...]]:
    """The module that the weights are of, the channels of its images, and notes."""
    state, renamed = in_timms_names(timm, name, state, checkpoint=checkpoint)
    build = partial(timm.create_model, name, pretrained=False, **size)
    classes = number_in(state, lambda number: build(num_classes=number), checkpoint=checkpoint)
    channels = number_in(state, lambda number: build(in_chans=number), (3, 1), checkpoint=checkpoint) or 3
    module: nn.Module = build(num_classes=classes or 0, in_chans=channels)
    loaded = load_weights(module, state, source=f"timm:{name}", checkpoint=checkpoint)
    headless = (f"checkpoint {checkpoint} has no classifier: features only",) if classes is None else ()
    return module, channels, (*renamed, *loaded.notes, *headless)


def _size_argument(timm: ModuleType, name: str, image_size: int) -> dict[str, int]:
    """Only models tied to one size take it as an argument; others read any and refuse to be told."""
    tied = getattr(timm.models.get_pretrained_cfg(name), "fixed_input_size", False)
    return {"img_size": image_size} if tied else {}


def _pretrained(timm: ModuleType, name: str, num_classes: int | None, size: Mapping[str, int]) -> nn.Module:
    config = timm.models.get_pretrained_cfg(name)
    if config is not None and config.num_classes != 0 and num_classes not in (None, config.num_classes):
        # timm would put a random classifier in place of the trained one, without a word.
        raise ValueError(
            f"timm:{name} comes with a classifier of {config.num_classes} classes, the data have {num_classes}; "
            "pass --checkpoint with weights trained on these classes"
        )
    try:
        module: nn.Module = timm.create_model(name, pretrained=True, **size)
    except Exception as error:  # the network's, the hub's and timm's own, of a dozen types
        raise ValueError(
            f"timm:{name}: its weights could not be fetched; pass --checkpoint FILE with weights from disk "
            f"({failure(error)[:200]})"
        ) from error
    return module
