"""The run file: what training leaves behind, and the model source `run:FILE`.

A run file is a plain state dict: `model.load_state_dict(torch.load(file, weights_only=True))`, or a safetensors file.
How the model came to be is a JSON object beside the tensors: in the state dict's own `_metadata[""]["run"]`, where
PyTorch keeps a version for every module and ignores what it does not know; in safetensors, under the metadata key
`run`. Its keys:

    arch         convnet, resnet32, timm:NAME, torchvision:NAME or file:path.py:function
    channels     1 or 3
    image_size   pixels of the square the model reads
    class_names  K texts
    transform    an ImageTransform as its to_dict() writes it
    trained_on   ids_digest of the training rows
    unit_rows    the classifier's name, where it reads features scaled to length one (see normed.py); or absent
    epochs, sampler, seed, best, versions, …   free, for people
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from featurecache.checkpoint import load_state
from featurecache.datasets.transforms import ImageTransform
from featurecache.disk import replacing
from featurecache.models.architectures import new_model
from featurecache.models.model import Model, load_weights
from featurecache.models.normed import unfolded
from featurecache.quoting import shown
from featurecache.weights_file import is_safetensors

REQUIRED: dict[str, type] = {
    "arch": str,
    "channels": int,
    "image_size": int,
    "class_names": list,
    "transform": dict,
    "trained_on": str,
}


def save_run(path: Path, module: nn.Module, description: Mapping[str, Any]) -> None:
    """Writes a model and how it came to be, whole or not at all.

    path: .pt or .safetensors.
    module: its state dict is stored on the CPU.
    description: plain JSON values, the keys above among them.
    Raises ValueError when a key is missing or a value is not JSON.
    """
    try:
        text = json.dumps(dict(description), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"run {shown(path)}: its description is not plain JSON: {error}") from None
    plain = _checked(json.loads(text), path)
    state = module.state_dict()
    copied = OrderedDict((name, value.detach().cpu().contiguous().clone()) for name, value in state.items())
    with replacing(path) as part:
        if is_safetensors(path):
            save_file(copied, part, metadata={"format": "pt", "run": text})
            return
        versions = OrderedDict(getattr(state, "_metadata", {}))
        versions[""] = {**versions.get("", {}), "run": plain}
        vars(copied)["_metadata"] = versions
        torch.save(copied, part)


def read_run(path: Path) -> dict[str, Any]:
    """How the model in a run file came to be.

    path: a run file.
    Raises ValueError when it is not one, FileNotFoundError when there is none.
    """
    description = find_description(path, load_state(path))
    if description is None:
        raise ValueError(
            f"checkpoint {shown(path)} is not a run file: it does not say what model it is; "
            "pass --model timm:NAME or file:path.py:function, and this file as --checkpoint"
        )
    return description


def open_run(
    name: str,
    *,
    checkpoint: Path | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
    ema: bool = False,
) -> Model:
    """The model of a run file, with its transform, class names and the digest of its training rows.

    name: the run file.
    checkpoint: other weights for it, such as a checkpoint with a new classifier; None: its own.
    num_classes: not used; the run file says K.
    image_size: refused when it is not the run's.
    ema: take the averaged weights of the checkpoint; a run file has one kind only.
    Raises ValueError when the file is no run file, or its architecture is a Python file, which is never run unasked.
    """
    path = Path(name)
    description = read_run(path)
    arch, size = description["arch"], description["image_size"]
    if arch.startswith("file:"):
        raise ValueError(
            f"run {shown(path)} needs code from {shown(arch)}; if you trust it, pass --model {arch[:160]!r} "
            f"and --checkpoint {shown(path)}"
        )
    if image_size is not None and image_size != size:
        raise ValueError(f"run {shown(path)} reads images of {size} pixels; leave --image-size out")
    module = new_of_run(description)
    weights = checkpoint or path
    transform = ImageTransform.from_dict(description["transform"])
    state, said = load_state(weights, ema=ema), shown(weights)
    loaded = load_weights(module, state, source=f"run:{name}", checkpoint=said, transform=transform)
    opened = Model(
        module.eval(),
        transform,
        transform.describe(),
        None,
        f"run:{name}",
        has_head=loaded.has_head,
        notes=loaded.notes,
    )
    return described(opened, description)


def new_of_run(description: Mapping[str, Any]) -> nn.Module:
    """The untrained model of a run, with random weights from torch's default generator.

    description: as read_run returns it. A Python file that it names is run.
    Raises ValueError when there is no such architecture, or it has not the classifier that is described.
    """
    module = new_model(
        description["arch"],
        num_classes=len(description["class_names"]),
        channels=description["channels"],
        image_size=description["image_size"],
    )
    if "unit_rows" in description:
        unfolded(module, description["unit_rows"])
    return module


def described(model: Model, description: Mapping[str, Any]) -> Model:
    """The model with the transform, the class names and the training rows that a run's description gives.

    model: of any source, with the run's weights.
    description: as read_run returns it.
    """
    transform = ImageTransform.from_dict(description["transform"])
    return replace(
        model,
        transform=transform,
        transform_text=transform.describe(),
        class_names=tuple(description["class_names"]),
        trained_on=description["trained_on"],
    )


def find_description(path: Path, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """The description in a checkpoint, checked; None where there is none.

    path: the file.
    state: what load_state made of it.
    Raises ValueError when there is a description and it is not as above.
    """
    if is_safetensors(path):
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("run")
        if text is None:
            return None
        try:
            return _checked(json.loads(text), path)
        except (json.JSONDecodeError, RecursionError):
            raise ValueError(f"run {shown(path)}: its description is not JSON") from None
    of_module = getattr(state, "_metadata", {}).get("", {})
    return _checked(of_module["run"], path) if "run" in of_module else None


def _checked(description: object, path: Path) -> dict[str, Any]:
    if not isinstance(description, dict):
        raise ValueError(f"run {shown(path)}: its description is not a JSON object")
    for key, kind in REQUIRED.items():
        value = description.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"run {shown(path)}: {key} is {value!r:.80}, expected a value of type {kind.__name__}")
    layer = description.get("unit_rows", "")
    if not isinstance(layer, str):
        raise ValueError(f"run {shown(path)}: unit_rows is {layer!r:.80}, expected the name of a layer")
    names = description["class_names"]
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"run {shown(path)}: class_names are not different texts")
    transform = ImageTransform.from_dict(description["transform"])
    if (transform.channels, transform.size) != (description["channels"], description["image_size"]):
        raise ValueError(f"run {shown(path)}: its transform is for images of another size than the model")
    return description
