"""What kind of model a configuration of transformers describes: a classifier of images, or a backbone."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import ModuleType
from typing import Any

IMAGES = {"pixel_values", "inputs"}  # what the first argument of a model of images is called


@dataclass(frozen=True)
class Kind:
    """How a model is built.

    auto: the class of transformers whose from_pretrained and from_config build it.
    has_head: whether it gives logits.
    notes: one line each, for the person.
    """

    auto: Any
    has_head: bool
    notes: tuple[str, ...] = ()


def kind_of(transformers: ModuleType, config: Any, source: str) -> Kind:
    """What the weights beside a config are of.

    transformers: as import_transformers gives it.
    config: of a model.
    source: what messages call the model.
    Raises ValueError when it is no model of images, saying what it is and what to do.
    """
    saved = list(getattr(config, "architectures", None) or ())
    classifiers = _classes(transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, config)
    named = [found for found in classifiers if found.__name__ in saved]
    if classifiers and (named or not saved) and config.num_labels > 0:
        _check_images(named[0] if named else classifiers[0], config, source)
        return Kind(transformers.AutoModelForImageClassification, has_head=True)
    backbones = _classes(transformers.MODEL_MAPPING, config)
    if not backbones:
        raise ValueError(
            f"{source} is a {str(config.model_type)[:80]!r}, which is no image classifier and no single backbone; "
            "pass --model file:path.py:function with a function that returns what you need of it"
        )
    _check_images(backbones[0], config, source)
    what = ", ".join(saved)[:160] or backbones[0].__name__
    return Kind(transformers.AutoModel, False, (f"{source} holds {what}, no image classifier: features only",))


def classifier_kind(transformers: ModuleType, config: Any) -> Kind | None:
    """The image classifier of a config's architecture, whatever the weights beside it are of; None where it has none.

    transformers, config: as above.
    """
    if not _classes(transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, config):
        return None
    return Kind(transformers.AutoModelForImageClassification, has_head=True)


def _classes(mapping: Any, config: Any) -> tuple[Any, ...]:
    found = mapping.get(type(config), ())
    return found if isinstance(found, tuple) else (found,)


def _check_images(model: Any, config: Any, source: str) -> None:
    first = next(name for name in inspect.signature(model.forward).parameters if name != "self")
    if first in IMAGES:
        return
    towers = " of two towers" if hasattr(config, "vision_config") else ""
    raise ValueError(
        f"{source} is a {model.__name__}: a model{towers} that is called with {first}, not with images alone; "
        "pass --model file:path.py:function with a function that returns its image part, or whose data set gives what "
        "it is called with"
    )
