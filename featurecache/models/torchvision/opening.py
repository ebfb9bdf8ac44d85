"""Models of torchvision: `torchvision:NAME[/WEIGHTS]`."""

from __future__ import annotations

import difflib
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from featurecache.checkpoint import load_state
from featurecache.layers import linear_layers, shape_of
from featurecache.models.model import Model, load_weights
from featurecache.models.naming import fitted
from featurecache.models.torchvision.library import import_torchvision
from featurecache.models.torchvision.presets import preset_of
from featurecache.quoting import shown

# What torchvision's other models do, by the part of its package that they are in.
OTHERS = {
    "detection": "finds objects in images",
    "optical_flow": "computes the motion between two images",
    "quantization": "computes with quantized weights",
    "segmentation": "labels the pixels of images",
    "video": "reads videos",
}
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # heads of googlenet and inception_v3 that only their training uses
ANCIENT = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d\.)")  # names in the published files of densenet


def open_torchvision(
    name: str,
    *,
    checkpoint: Path | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
    ema: bool = False,
) -> Model:
    """A trained image classifier of torchvision, its transform from torchvision's weights.

    name: of torchvision.models.list_models(), and after a slash which published weights (such as IMAGENET1K_V2); those
        that torchvision calls DEFAULT unless it is said.
    checkpoint: its weights; the rows of the classifier in them are its K, and the transform is that of the published
        weights. None: the published weights, from torchvision's cache or the network.
    num_classes: without a checkpoint, the K that the published weights must have.
    image_size: pixels of the square that is read; None: as the published weights.
    ema: take the averaged weights of the checkpoint.
    Raises ValueError when torchvision is not installed, does not know the name or the weights, or they cannot be had.
    """
    arch, _, tag = name.partition("/")
    weights = _weights(arch, tag)
    transform = preset_of(weights)
    if image_size is not None:
        transform = transform.changed(size=image_size)
    if checkpoint is None:
        module = _published(arch, weights, transform.size, num_classes)
        names = tuple(weights.meta["categories"])
        return Model(module.eval(), transform, transform.describe(), names, f"torchvision:{name}")
    state = _modern(load_state(checkpoint, ema=ema))
    classes = len(weights.meta["categories"])
    module = _build(arch, classes, transform.size)
    layer = _classifier(module, classes)
    weight = fitted(state, module.state_dict(), checkpoint=shown(checkpoint)).state.get(f"{layer}.weight")
    if weight is not None and weight.ndim and len(weight) != classes:
        module = _build(arch, len(weight), transform.size)
    loaded = load_weights(module, state, source=f"torchvision:{name}", checkpoint=shown(checkpoint), classifier=[layer])
    return Model(
        module.eval(),
        transform,
        transform.describe(),
        None,
        f"torchvision:{name}",
        has_head=loaded.has_head,
        notes=(*_notes(arch), *loaded.notes),
    )


def new_torchvision(name: str, *, num_classes: int, channels: int, image_size: int) -> nn.Module:
    """An image classifier of torchvision with random weights.

    name: of torchvision.models.list_models().
    num_classes: K.
    channels: 3; torchvision's models read nothing else.
    image_size: pixels of the images.
    Raises ValueError when torchvision is not installed, does not know the name or cannot build it like this.
    """
    _check_name(name)
    if channels != 3:
        raise ValueError(
            f"torchvision:{name} reads RGB images, not {channels} channel; convnet and timm: read grey ones"
        )
    return _build(name, num_classes, image_size, trained=False)


def _models() -> Any:
    try:
        import_torchvision()
        from torchvision import models
    except ModuleNotFoundError as error:
        raise ValueError(
            f"torchvision models need torchvision, and {error.name} is not installed: "
            "install the extra, pip install 'featurecache-rebalance[torchvision]'"
        ) from error
    return models


def _check_name(arch: str) -> None:
    """ValueError unless torchvision has an image classifier of this name."""
    models = _models()
    if arch not in models.list_models():
        near = difflib.get_close_matches(arch, models.list_models(module=models), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ValueError(f"torchvision has no model {shown(arch)}{hint}")
    part = models.get_model_builder(arch).__module__.removeprefix("torchvision.models").split(".")
    if len(part) > 2 or arch not in models.list_models(module=models):
        does = OTHERS.get(part[1], "does something else")
        raise ValueError(f"torchvision:{arch} {does}; expected a model that gives logits of images")


def _weights(arch: str, tag: str) -> Any:
    """The member of torchvision's enumeration for an architecture. tag: its name, or nothing."""
    _check_name(arch)
    known = _models().get_model_weights(arch)
    usable = [member.name for member in known if member.meta["categories"]]
    if tag and tag not in known.__members__:
        raise ValueError(f"torchvision:{arch} has no weights {shown(tag)}; expected DEFAULT or {', '.join(usable)}")
    member = known[tag or "DEFAULT"]
    if not member.meta["categories"]:
        raise ValueError(f"torchvision:{arch}/{tag} has no classifier; expected {', '.join(usable)}")
    return member


def _published(arch: str, weights: Any, size: int, num_classes: int | None) -> nn.Module:
    """The model with its published weights."""
    classes = len(weights.meta["categories"])
    if num_classes not in (None, classes):
        raise ValueError(
            f"torchvision:{arch} comes with a classifier of {classes} classes, the data have {num_classes}; "
            "pass --checkpoint with weights trained on these classes"
        )
    try:
        module: nn.Module = _models().get_model(arch, weights=weights, **_size_argument(arch, size))
    except Exception as error:  # the network's, the disk's and torchvision's own, of a dozen types
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(
            f"torchvision:{arch}: its weights {weights.name} could not be fetched or do not fit; "
            f"pass --checkpoint FILE with weights from disk ({problem})"
        ) from error
    return module


def _build(arch: str, classes: int, size: int, *, trained: bool = True) -> nn.Module:
    """The architecture with random weights. trained: it is given weights that were trained from published ones."""
    own = _size_argument(arch, size)
    if arch in ("googlenet", "inception_v3"):
        own = {"aux_logits": False, "init_weights": not trained, "transform_input": trained}
    try:
        module: nn.Module = _models().get_model(arch, num_classes=classes, **own)
    except Exception as error:  # whatever a model's constructor makes of numbers it was not made for
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(
            f"torchvision:{arch} cannot be built for {classes} classes and images of {size} pixels: {problem}"
        ) from error
    return module


def _size_argument(arch: str, size: int) -> dict[str, Any]:
    """Only models tied to one size take it as an argument; others read any and refuse to be told."""
    if arch.startswith("vit_"):
        return {"image_size": size}
    return {"input_size": (size, size)} if arch.startswith("maxvit_") else {}


def _modern(state: OrderedDict[str, Tensor]) -> OrderedDict[str, Tensor]:
    """The state dict with the names of today, without the heads that only training uses."""
    names = {name: ANCIENT.sub(r"\1\2", name) for name in state if not any(f".{a}" in f".{name}" for a in AUXILIARY)}
    out = OrderedDict((new, state[name]) for name, new in names.items())
    vars(out).update(vars(state))  # the versions that PyTorch keeps beside the tensors
    return out


def _classifier(module: nn.Module, classes: int) -> str:
    """The name of the layer that makes the logits: the last one with so many outputs."""
    return [name for name, layer in linear_layers(module) if (shape_of(layer) or (0,))[0] == classes][-1]


def _notes(arch: str) -> tuple[str, ...]:
    if arch not in ("googlenet", "inception_v3"):
        return ()
    return (f"torchvision:{arch} is built as for its published weights: it converts its input (transform_input=True)",)
