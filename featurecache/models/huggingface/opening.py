"""Models of Hugging Face's transformers, from a folder or by name: `hf:NAME_OR_FOLDER`."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from featurecache.checkpoint import load_state
from featurecache.datasets.images import Transform
from featurecache.models.huggingface.kind import Kind, kind_of
from featurecache.models.huggingface.library import import_transformers, quiet
from featurecache.models.huggingface.origin import Origin, origin_of
from featurecache.models.huggingface.places import averaged_places, features_of
from featurecache.models.huggingface.transform import WAY_OUT, MissingTransform, ProcessorTransform, processor_transform
from featurecache.models.huggingface.weights import own_weights, with_weights
from featurecache.models.model import Model
from featurecache.models.timm.transform import TimmTransform, data_config
from featurecache.models.trial import tried_model, tried_transform
from featurecache.python_function import failure
from featurecache.quoting import shown

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
UNNAMED = re.compile(r"LABEL_\d+")


def open_huggingface(
    name: str,
    *,
    checkpoint: Path | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
    ema: bool = False,
) -> Model:
    """An image classifier of transformers, or an image backbone without a head, in float32.

    name: a folder that save_pretrained wrote, or a name on the hub, which its cache or the network gives.
    checkpoint: local weights, which tell K; None: those of the folder.
    num_classes: the K that the model's own weights must have.
    image_size: pixels of the square that is read; None: as its image processor says.
    ema: take the averaged weights of the checkpoint.
    Raises ValueError, in one line, when transformers is not installed, the model cannot be had, is none of images, or
    its weights are not all there.
    """
    transformers = import_transformers()
    origin = origin_of(name)
    with quiet(transformers):
        config = _config(transformers, origin)
        kind = kind_of(transformers, config, str(origin))
        transform = _transform(transformers, origin, config, image_size)
        usable = None if isinstance(transform, MissingTransform) else transform
        if checkpoint is None:
            _check_classes(origin, kind, config, num_classes)
            module, loaded = own_weights(kind, origin, config)
        else:
            state = load_state(checkpoint, ema=ema)
            module, loaded = with_weights(
                transformers, kind, config, state, origin=origin, checkpoint=shown(checkpoint), transform=usable
            )
        notes = loaded.notes
        if usable is not None:
            module, note = _tried(module.eval(), loaded.has_head, usable, origin)
            notes += (note,) if note else ()
    return Model(
        module.eval(),
        transform,
        transform.describe(),
        _class_names(config) if loaded.has_head and checkpoint is None else None,
        f"hf:{name}",
        has_head=loaded.has_head,
        notes=notes,
    )


def _tried(module: nn.Module, has_head: bool, transform: Transform, origin: Origin) -> tuple[nn.Module, str]:
    """The module after an image went through it, a backbone giving one vector an image; and a note, or nothing."""
    image = tried_transform(transform, f"the image processor of {origin}")
    output = tried_model(module, image, str(origin))
    if has_head:
        return module, ""
    module, note = averaged_places(module, output)
    first, second = (features_of(tried_model(module.eval(), image, str(origin))) for _ in range(2))
    if not float((first - second).abs().max()) <= 1e-5 * float(first.abs().max()):
        raise ValueError(
            f"{origin} gives other features for the same image every time; switch off what is random in its "
            "config.json (such as mask_ratio), or pass --model file:path.py:function"
        )
    return module, note


def _config(transformers: ModuleType, origin: Origin) -> Any:
    try:
        return transformers.AutoConfig.from_pretrained(origin.name, **origin.options())
    except Exception as error:  # the network's, the hub's and transformers' own, of a dozen types
        raise origin.refusal(error) from error


def _check_classes(origin: Origin, kind: Kind, config: Any, num_classes: int | None) -> None:
    if kind.has_head and num_classes not in (None, config.num_labels):
        raise ValueError(
            f"{origin} comes with a classifier of {config.num_labels} classes, the data have {num_classes}; "
            "pass --checkpoint with weights trained on these classes"
        )


def _transform(
    transformers: ModuleType, origin: Origin, config: Any, image_size: int | None
) -> ProcessorTransform | TimmTransform | MissingTransform:
    channels = getattr(config, "num_channels", 3)
    if config.model_type == "timm_wrapper":
        return TimmTransform(data_config(dict(config.pretrained_cfg), channels=3, image_size=image_size))
    if origin.local and not any((Path(origin.name) / file).is_file() for file in PROCESSOR_FILES):
        return _missing(origin, config, f"no {PROCESSOR_FILES[0]}", image_size, channels)
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(origin.name, backend="pil", **origin.options())
    except Exception as error:
        problem = f"no image processor that can be read ({failure(error)[:160]})"
        return _missing(origin, config, problem, image_size, channels)
    transform = processor_transform(transformers, processor, channels)
    transform = transform if image_size is None else transform.changed(size=image_size)
    try:
        tried_transform(transform, "its image processor")
    except ValueError as error:  # such as three means for a model of grey images
        return _missing(origin, config, f"no image processor for its images ({error})", image_size, channels)
    return transform


def _missing(origin: Origin, config: Any, problem: str, image_size: int | None, channels: int) -> MissingTransform:
    size = image_size or getattr(config, "image_size", None)
    return MissingTransform(f"{origin} has {problem}; {WAY_OUT}", size if isinstance(size, int) else None, channels)


def _class_names(config: Any) -> tuple[str, ...] | None:
    """The names of the classes, where they are more than numbers."""
    named = {int(number): str(label) for number, label in (config.id2label or {}).items()}
    names = tuple(named[number] for number in sorted(named))
    complete = sorted(named) == list(range(config.num_labels)) and len(set(names)) == len(names)
    return names if complete and not any(UNNAMED.fullmatch(name) for name in names) else None
