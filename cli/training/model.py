"""The model that `rebalance train` begins with: its architecture, its weights, and which part of it trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import DataOptions, ModelOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from featurecache.datasets.transforms import ImageTransform

SIZES = {"convnet": 64, "resnet32": 32}
OTHER_SIZE = 224


@dataclass(frozen=True)
class Design:
    """What is known of the model before it is built.

    arch: as new_model takes it. plain: what it reads outside training.
    state, described: the weights it begins with and their run's description, None where there are none.
    """

    arch: str
    plain: ImageTransform
    state: dict[str, Tensor] | None
    described: dict[str, Any] | None


@dataclass(frozen=True)
class Start:
    """The model to train.

    classifier: its name, where it was asked for. parts: the modules that train, None for all. notes: for the person.
    unit_rows: the name of a classifier that reads features of length one, or None. begun: digest of given weights.
    scale: of the cosines that its classifier gives, None for any other classifier.
    """

    module: nn.Module
    classifier: str | None
    parts: tuple[str, ...] | None
    notes: list[str]
    unit_rows: str | None
    begun: str | None
    scale: float | None


def design(start: ModelOptions, source: DataOptions) -> Design:
    """The architecture and the transform that the options, or the run that they begin with, ask for."""
    from featurecache.checkpoint import load_state
    from featurecache.datasets import ImageTransform
    from featurecache.models.run import find_description

    state = described = None
    if start.init is not None:
        path = Path(start.init.removeprefix("run:"))
        state = load_state(path)
        described = find_description(path, state)
        if described is None and (start.arch is None or start.init.startswith("run:")):
            raise ValueError(f"--init {start.init}: it does not say what model it is; give --arch, and --init FILE")
    elif start.fresh_classifier or start.freeze != "none":
        raise ValueError("--freeze and --fresh-classifier are for a model that is trained already; give --init FILE")
    arch = start.arch or ("convnet" if described is None else described["arch"])
    if described is not None and arch != described["arch"]:
        raise ValueError(f"--init {start.init} is a {described['arch']!r:.120}, not {arch!r:.120}; leave --arch out")
    if described is not None:
        plain = ImageTransform.from_dict(described["transform"])
        if source.image_size not in (None, plain.size) or (source.grey and plain.channels == 3):
            raise ValueError(f"--init {start.init}: it reads {plain.size} pixels and {plain.channels} channels; leave "
                             "--image-size and --grey out")  # fmt: skip
    else:
        size = source.image_size or SIZES.get(arch.partition(":")[0], OTHER_SIZE)
        # Small images that are padded lie whole in their frame: nothing is cut off them when they are judged.
        crop = 1.0 if source.augment == "pad" else ImageTransform.crop
        plain = ImageTransform(size=size, channels=1 if source.grey else 3, crop=crop)
    return Design(arch, _changed(plain, source.transform), state, described)


def _changed(plain: ImageTransform, texts: tuple[str, ...]) -> ImageTransform:
    from torch import nn

    from featurecache.datasets import ImageTransform
    from featurecache.models import Model
    from featurecache.models.overriding import overridden

    if not texts:
        return plain
    if any(text.startswith(("file:", "size=")) for text in texts):
        raise ValueError("--transform: train takes crop, interpolation, mean and std; --image-size is the size")
    changed = overridden(Model(nn.Identity(), plain, plain.describe(), None, "train"), texts).transform
    if not isinstance(changed, ImageTransform):
        raise ValueError("--transform: train takes crop, interpolation, mean and std")
    return changed


def build(made: Design, start: ModelOptions, names: tuple[str, ...], example: Any, scale: float | None) -> Start:
    """The model for these classes, with the weights that it begins with.

    names: of the K classes. example: a batch as the model takes it. scale: of the cosines that the loss wants, or None.
    """
    from featurecache.checkpoint import digest
    from featurecache.classifier import find_classifier
    from featurecache.models import new_model
    from featurecache.models.normed import with_normed
    from featurecache.models.run import new_of_run
    from featurecache.training.freezing import trained_parts

    if made.described is not None:
        module = new_of_run({**made.described, "class_names": list(names)})
    else:
        module = new_model(made.arch, num_classes=len(names), channels=made.plain.channels, image_size=made.plain.size)
    classifier, parts, notes = None, None, list[str]()
    unit_rows = None if made.described is None else made.described.get("unit_rows")
    if made.state is not None or scale is not None:
        classifier = find_classifier(module, example).name
    if made.state is not None and classifier is not None:
        notes = _begin(module, classifier, made, start, names)
        parts = trained_parts(module.eval(), example, classifier, start.freeze)
        if parts is not None:
            notes.append(_said(module, parts))
    if scale is not None and classifier is not None:
        if made.arch.startswith("file:"):
            raise ValueError("--loss ldam changes the classifier, which a file: model builds itself; take another loss")
        with_normed(module, classifier, scale)
    begun = None if made.state is None else digest(made.state)
    return Start(module, classifier, parts, notes, unit_rows, begun, scale)


def _begin(module: nn.Module, classifier: str, made: Design, start: ModelOptions, names: tuple[str, ...]) -> list[str]:
    """Puts the weights in, with their classifier where it is one of the same classes; what was done, in words."""
    from featurecache.models.model import load_weights
    from featurecache.models.naming import fitted

    own = module.state_dict()
    fit = fitted(made.state or {}, own, checkpoint=str(start.init))
    of_classifier = [name for name in own if name.startswith(tuple(f"{part}." for part in classifier.split("+")))]
    why = None
    if start.fresh_classifier:
        why = "as asked"
    elif made.described is not None and tuple(made.described["class_names"]) != names:
        why = "its classes are others"
    elif any(name not in fit.state or fit.state[name].shape != own[name].shape for name in of_classifier):
        why = "it has none of this shape"
    state = dict(fit.state)
    if why is not None:
        foreign = tuple(f"{part}." for part in classifier.split("+"))
        state = {name: value for name, value in state.items() if not name.startswith(foreign)}
        state |= {name: own[name] for name in of_classifier}
    load_weights(module, state, source="--arch", checkpoint=repr(start.init))
    fresh = [] if why is None else [f"the classifier {classifier!r} of {start.init} is drawn anew: {why}"]
    return [*fit.notes, *fresh]


def _said(module: nn.Module, parts: tuple[str, ...]) -> str:
    trained = {id(p): p.numel() for name in parts for p in module.get_submodule(name).parameters()}
    every = {id(p): p.numel() for p in module.parameters()}
    return (
        f"training {', '.join(map(repr, parts))}: {sum(trained.values()):,} of {sum(every.values()):,} parameters; the "
        "rest is frozen, in eval mode"
    )
