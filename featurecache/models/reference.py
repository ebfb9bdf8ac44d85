"""Checkpoints of the paper's own code: `reference:FILE` (Kang et al. 2020, facebookresearch/classifier-balancing).

A file says which residual network it is of by the names and shapes of its tensors. Its layout is told in
featurecache.weights_layouts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from featurecache.checkpoint import load_state
from featurecache.datasets.transforms import ImageTransform
from featurecache.models.model import Model, load_weights
from featurecache.models.resnet import BasicBlock, Bottleneck, ResNet
from featurecache.quoting import shown

SIZE, CROP = 224, 0.875  # of 256
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean, std
INATURALIST, INATURALIST_CLASSES = ((0.466, 0.471, 0.380), (0.195, 0.194, 0.192)), 8142
OPTIONAL = ("fc_add", "modulatedatt")  # modules that some of the files hold and no shipped configuration uses
DEEPEST = 64  # blocks a stage


def open_reference(
    name: str,
    *,
    checkpoint: Path | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
    ema: bool = False,
) -> Model:
    """The model of a checkpoint of the paper's code: ResNet or ResNeXt, its images resized to 256 and cropped to 224.

    name: the file.
    checkpoint: other weights for the same architecture; None: the file's.
    num_classes: not used; the file says K.
    image_size: pixels of the square that is read; None: 224.
    ema: take the averaged weights of the checkpoint; the paper's files have none.
    Raises ValueError when the file holds no such network.
    """
    own = Path(name)
    path = checkpoint or own
    state, notes = _without_optional(load_state(path, ema=ema), path)
    weight = state.get("fc.weight")
    classes = len(weight) if weight is not None and weight.ndim else 1
    with torch.device("meta"):  # nothing is allocated for what a file only claims to hold
        module = _network(state if path == own else load_state(own), own, classes)
    loaded = load_weights(module, state, source=f"reference:{name}", checkpoint=shown(path), classifier=["fc"])
    mean, std = INATURALIST if loaded.has_head and classes == INATURALIST_CLASSES else IMAGENET
    transform = ImageTransform(image_size or SIZE, 3, mean, std, CROP, "bilinear")
    return Model(
        module.float().eval(),
        transform,
        transform.describe(),
        None,
        f"reference:{name}",
        has_head=loaded.has_head,
        notes=(*notes, *loaded.notes),
    )


def _without_optional(state: OrderedDict[str, Tensor], path: Path) -> tuple[OrderedDict[str, Tensor], tuple[str, ...]]:
    """The state dict without the tensors of optional modules, and a note if there were any."""
    optional = [name for name in state if not {*OPTIONAL}.isdisjoint(name.split("."))]
    for name in optional:
        del state[name]
    if not optional:
        return state, ()
    return state, (
        f"checkpoint {shown(path)}: {len(optional)} tensors left out, of modules that none of the paper's runs uses "
        f"(first {shown(optional[0])})",
    )


def _network(state: Mapping[str, Tensor], path: Path, classes: int) -> ResNet:
    """The residual network whose blocks, groups and widths a file's tensors have."""
    depths = [_depth(state, stage) for stage in (1, 2, 3, 4)]
    middle = state.get("layer1.0.conv2.weight")
    if not all(0 < depth <= DEEPEST for depth in depths) or middle is None or middle.ndim != 4 or 0 in middle.shape:
        raise ValueError(
            f"checkpoint {shown(path)} holds no ResNet or ResNeXt of the paper's code: its layer1 to layer4 have "
            f"{', '.join(map(str, depths))} blocks; for another network pass --model SOURCE:NAME and --checkpoint FILE"
        )
    if "layer1.0.conv3.weight" not in state:
        return ResNet(BasicBlock, depths, classes)
    inner, base = middle.shape[:2]
    return ResNet(Bottleneck, depths, classes, groups=max(1, inner // base), base=base)


def _depth(state: Mapping[str, Tensor], stage: int) -> int:
    """How many blocks a stage has; one more than DEEPEST where there are too many."""
    return next((n for n in range(DEEPEST + 1) if f"layer{stage}.{n}.conv1.weight" not in state), DEEPEST + 1)
