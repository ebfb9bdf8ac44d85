"""The model a head belongs to, opened again, and the proof that it is that model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..output import clean

if TYPE_CHECKING:
    from torch import Tensor

    from featurecache import FeatureCache
    from featurecache.classifier import Classifier
    from featurecache.models import Model
    from rebalance import LinearHead

    from .options import Origin

ROWS = 7  # of random inputs: neither one, nor what a program was traced with


@dataclass(frozen=True)
class Source:
    """A model's source and the weights for it, None where the source names them itself."""

    name: str
    checkpoint: Path | None = None

    def of(self, weights: Path) -> Source:
        """The same model with the weights of another checkpoint."""
        if weights.is_dir():
            return Source(f"hf:{weights}")
        if self.checkpoint is None and self.name.startswith(("run:", "reference:")):
            return Source(f"{self.name.partition(':')[0]}:{weights}")
        return Source(self.name, weights)


@dataclass(frozen=True)
class Whole:
    """A model in eval mode, its classifier, and the shape of one input.

    model: as it was opened. classifier: what its logits are made of. shape: (C, H, W).
    """

    model: Model
    classifier: Classifier
    shape: tuple[int, ...]

    def random(self, seed: int) -> Tensor:
        """A few inputs (B, C, H, W) of noise."""
        import torch

        return torch.randn(ROWS, *self.shape, generator=torch.Generator().manual_seed(seed))


class OtherModel(ValueError):
    """A model whose weights are not those that the features were extracted with."""


def source_of(origin: Origin, into: Path | None, cache: FeatureCache | None) -> Source:
    """Where the model is from: as asked, as a run file or a folder says, or as the cache records.

    Code in a Python file that a cache names is not run unasked. A wrong usage where nobody says which model it is.
    """
    if origin.model is not None:
        folder = into is not None and into.is_dir() and origin.model.startswith("hf:")
        return Source(f"hf:{into}") if folder else Source(origin.model, into)
    if into is not None and into.is_dir():
        return Source(f"hf:{into}")
    if into is not None and _is_run(into):
        return Source(f"run:{into}")
    recorded = "" if cache is None else str(cache.plan.specification.get("model"))
    kind, _, name = recorded.partition(":")
    if kind in ("timm", "torchvision") and into is not None:
        return Source(recorded, into)
    if kind in ("run", "reference") and cache is not None:
        for path in ([] if into is None else [into]) + [cache.path.parent / Path(name).name, Path(name)]:
            if path.is_file():
                return Source(f"{kind}:{path}")
    said = f" (its cache says {clean(recorded)!r})" if recorded not in ("", "None") else ""
    raise click.UsageError(
        f"which model the head is of is not known here{said}: expected --model SOURCE:NAME, and its weights as --into"
    )


def opened(source: Source, head: LinearHead, origin: Origin, cache: FeatureCache | None) -> Whole:
    """The model the features were extracted with, its classifier proved.

    ValueError when it is another model, its classifier another one, or it has none.
    """
    import torch

    from featurecache.classifier import find_classifier
    from featurecache.storage import head_digest

    model = of_weights(source, head, origin, cache)
    shape = shape_of_input(model)
    joint = head.record.get("joint")
    if not model.has_head or (cache is not None and not cache.has_head):
        raise ValueError(
            f"{clean(source.name, 200)}: the features are of a model without a classifier, so there is no place in it "
            "for the head; write the head alone, without --full, and run it on what the model gives"
        )
    noise = torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(0))
    found = find_classifier(model.module, noise, layer=origin.layer or head.record.get("layer"))
    if joint is not None and head_digest(found.weight, found.bias) != joint:
        raise ValueError(
            f"{clean(source.name, 200)}: its classifier {clean(found.name)!r} is another one than that of the model "
            "the features were extracted with; expected that model"
        )
    return Whole(model, found, shape)


def reopened(source: Source, head: LinearHead, origin: Origin, ema: bool) -> Model:
    """The model of a checkpoint that was just written."""
    from featurecache.models import open_model

    return open_model(
        source.name, checkpoint=source.checkpoint, num_classes=head.num_classes, image_size=origin.image_size, ema=ema
    )


def shape_of_input(model: Model) -> tuple[int, ...]:
    """(C, H, W) of what the model reads."""
    from featurecache.models.trial import tried_transform

    return tuple(tried_transform(model.transform, f"the preprocessing of {clean(model.source, 200)}").shape)


def classifier_in(model: Model, record: dict[str, Any], layer: str | None, shape: tuple[int, ...]) -> Classifier | str:
    """What stands for the classifier of a model that was written: its layers' names and factors, as recorded.

    record: the head's. layer: its name, if it was given or found. shape: (C, H, W) of an input.
    """
    import torch

    from featurecache.classifier import Classifier, Term, find_classifier

    names = dict(model.module.named_modules())
    if terms := record.get("terms"):
        return Classifier("+".join(term["name"] for term in terms), torch.empty(0), torch.empty(0), _terms(Term, terms))
    for name in (layer, record.get("layer")):
        if isinstance(name, str) and name in names:
            return name
    return find_classifier(model.module, torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(0)))


def _terms(kind: Any, terms: list[dict[str, Any]]) -> tuple[Any, ...]:
    return tuple(kind(**term) for term in terms)


def of_weights(source: Source, head: LinearHead, origin: Origin, cache: FeatureCache | None) -> Model:
    """The model whose weights are those the cache was extracted with; plain ones or averaged, where there are both."""
    from featurecache.checkpoint import digest

    wanted = None if cache is None else cache.plan.specification.get("weights")
    model = reopened(source, head, origin, ema=False)
    if wanted is None or digest(model.module.state_dict()) == wanted:
        return model
    try:
        averaged = reopened(source, head, origin, ema=True)
    except ValueError:
        averaged = None
    if averaged is not None and digest(averaged.module.state_dict()) == wanted:
        return averaged
    weights = "" if source.checkpoint is None else f" with {source.checkpoint}"
    raise OtherModel(
        f"{clean(source.name, 200)}{weights}: another model than the one the features were extracted with (its "
        "weights differ from those the cache records); expected that one"
    )


def _is_run(path: Path) -> bool:
    from featurecache.checkpoint import load_state
    from featurecache.models.run import find_description

    return find_description(path, load_state(path)) is not None
