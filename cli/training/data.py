"""The rows that `rebalance train` fits and those that it judges."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..output import clean, note
from .options import DataOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from featurecache.datasets.transforms import ImageTransform


@dataclass(frozen=True)
class Parts:
    """What to fit, what to judge (or None), and the lists to be written of both where one source was divided.

    fitting: through the training transform. plain: the same rows as the model reads them outside training.
    """

    fitting: Any
    plain: Any
    judging: Any
    lists: list[tuple[Any, Path]]

    @property
    def class_names(self) -> tuple[str, ...]:
        """K names."""
        return tuple(self.plain.class_names)

    @property
    def labels(self) -> NDArray[Any]:
        """(N,) of the rows to fit."""
        labels: NDArray[Any] = self.plain.labels
        return labels

    def digest(self) -> str:
        """Of the ids of the rows to fit; of their places where they have none."""
        return _digest(self.plain)

    def identity(self) -> dict[str, Any]:
        """What tells these rows from others, as plain JSON."""
        import hashlib

        labels = hashlib.sha256(self.labels.astype("<i8").tobytes()).hexdigest()
        judged = None if self.judging is None else _digest(self.judging)
        return {"data": self.digest(), "labels": labels, "val": judged, "classes": list(self.class_names)}


def open_parts(data: str, source: DataOptions, out: Path, seed: int, plain: ImageTransform, first: bool) -> Parts:
    """The data, divided where no validation data are given; everything that could be refused later is refused now.

    out: the model's file, which the lists lie beside. first: whether this process is the one that speaks.
    """
    from featurecache.datasets import missing_classes, open_images

    images = open_images(data, transform=plain, root=source.root)
    if images.labels is None or images.class_names is None:
        lacking = " and ".join(name for name in ("labels", "class_names") if getattr(images, name) is None)
        raise ValueError(
            f"{data}: its data set has no {lacking}; to train give it labels (a class id a row) and class_names"
        )
    if lost := missing_classes(images):  # type: ignore[arg-type]  # asks for labels and names only
        raise ValueError(
            f"{data}: class {clean(images.class_names[lost[0]])!r} ({lost[0]}) has no image ({len(lost)} such "
            "classes); expected at least one image of every class: add some or leave the class out"
        )
    if first:
        for line in images.notes:
            note(f"rebalance: {line}")
    augmented = _augmented(images, data, source, plain)
    if source.val is not None:
        names = images.class_names
        judging = open_images(source.val, transform=plain, root=source.root, class_names=names)
        if judging.labels is None:
            raise ValueError(f"{source.val}: its data set has no labels; rows to judge by need them")
        return Parts(augmented, images, judging, [])
    return _divided(images, augmented, data, source.holdout, out, seed, first)


def _augmented(images: Any, data: str, source: DataOptions, plain: ImageTransform) -> Any:
    """The same rows through the training transform."""
    from featurecache.datasets import open_images

    transform = training_transform(source, plain)
    if hasattr(images, "with_transform"):
        return images.with_transform(transform)
    return open_images(data, transform=transform, root=source.root)


def training_transform(source: DataOptions, plain: ImageTransform) -> Any:
    """PIL image -> tensor as in training: cropped or moved at random, mirrored, its colours changed."""
    from featurecache.datasets import TrainTransform
    from featurecache.datasets.jittering import JitterTransform
    from featurecache.datasets.padding import PadTransform

    if source.crop_scale is not None and source.augment != "crop":
        raise click.UsageError(f"--crop-scale is of random crops; --augment {source.augment} makes none")
    if source.augment == "none":
        return plain
    if source.augment == "pad":
        transform: Any = PadTransform(plain, flip=source.flip)
    else:
        scale = {} if source.crop_scale is None else {"scale": source.crop_scale}
        transform = TrainTransform(plain, flip=source.flip, **scale)
    return JitterTransform(transform, source.jitter) if source.jitter else transform


def _divided(images: Any, augmented: Any, data: str, share: float, out: Path, seed: int, first: bool) -> Parts:
    from featurecache.datasets import list_text
    from featurecache.training import holdout

    if share == 0:
        return Parts(augmented, images, None, [])
    fit_rows, judge_rows = holdout(images.labels, share, seed)
    if not len(judge_rows):
        if first:
            note(f"rebalance: {data} is too small to hold out {share:g} of a class; give --val or a larger --holdout")
        return Parts(augmented, images, None, [])
    if images.sample_ids is None:
        raise ValueError(f"{data}: its rows have no sample_ids, so those held out cannot be listed; give --val")
    lists = [out.with_suffix(f".{name}.txt") for name in ("train", "val")]
    if any(path.exists() and Path(data).exists() and path.samefile(data) for path in lists):
        raise ValueError(f"{data}: the lists of both parts would replace it; give --out another name")
    if not out.exists() and (taken := [path for path in lists if path.exists()]):
        raise ValueError(f"{taken[0]}: there already, perhaps of another model; give --out another name or move it")
    list_text(images)  # what cannot stand in a list is refused now, not after the training
    plain, judging = images.subset(fit_rows), images.subset(judge_rows)
    return Parts(augmented.subset(fit_rows), plain, judging, list(zip((plain, judging), lists, strict=True)))


def _digest(images: Any) -> str:
    from featurecache.datasets import ids_digest

    ids = images.sample_ids
    return ids_digest(ids if ids is not None else (f"{images.name} {row}" for row in range(len(images))))
